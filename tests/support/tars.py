"""Tar archives made on the spot, good ones and such as no honest program writes."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def tar_of(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of these files, in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def files_of_bundle(folder: Path) -> dict[str, bytes]:
    """The files of a version, with its manifest first."""
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name != "manifest.json", name))
    return {name: (folder / name).read_bytes() for name in names}


def tar_with(*infos: tarfile.TarInfo) -> bytes:
    """An archive of entries without bytes: links, folders, devices."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info in infos:
            archive.addfile(info)
    return out.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """One such entry."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A header of the old kind with these very fields, and a checksum that is right."""
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.rjust(11, b"0") + b"\0"
    fields += b"00000000000\0" + b" " * 8 + kind
    block = bytearray(fields.ljust(512, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
