"""The ZIP archives that the page makes, read by Python: also those that need ZIP64."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from support.documents import ROOT
from support.node import needs_node, run_node

ZIP = ROOT / "server" / "src" / "diptych" / "http" / "page" / "js" / "parts" / "zip.js"
# Files of which only the size is given are holes of the archive: nothing is written there.
SCRIPT = """
import { openSync, readFileSync, writeSync } from "node:fs";
const { zip, zipEntry } = await import(process.argv[2]);
const files = await Promise.all(JSON.parse(readFileSync("files.json")).map(({ name, size }) =>
  (size >= 0 ? { name, blob: { size }, crc: 0 } : zipEntry(name, new Blob([name])))));
const RealBlob = globalThis.Blob;
globalThis.Blob = class { constructor(parts) { this.parts = parts; } };
const target = openSync("made.zip", "w");
let at = 0;
for (const part of zip(files).parts) {
  const bytes = part instanceof RealBlob ? new Uint8Array(await part.arrayBuffer()) : part;
  if (bytes.length) writeSync(target, bytes, 0, bytes.length, at);
  at += part.size ?? part.length;
}
"""
pytestmark = needs_node


def archive(folder: Path, names: Sequence[str], sizes: Sequence[int] = ()) -> zipfile.ZipFile:
    """Files that hold their names, after others of which only the size counts."""
    files = [{"name": f"large {n}", "size": size} for n, size in enumerate(sizes)]
    (folder / "files.json").write_text(json.dumps(files + [{"name": name} for name in names]))
    (folder / "make.mjs").write_text(SCRIPT)
    made = run_node("make.mjs", ZIP.as_uri(), cwd=folder)
    assert made.returncode == 0, made.stderr
    return zipfile.ZipFile(folder / "made.zip")


def test_archive_has_all_files_and_numbers_equal_names(tmp_path: Path) -> None:
    with archive(tmp_path, ["a.png", "ü.png", "a.png"]) as found:
        assert found.testzip() is None
        texts = {name: found.read(name).decode() for name in found.namelist()}
        assert texts == {"a.png": "a.png", "ü.png": "ü.png", "a 2.png": "a.png"}


def test_archive_may_have_more_than_65535_files(tmp_path: Path) -> None:
    with archive(tmp_path, ["last"], sizes=[0] * 66_000) as found:
        assert len(found.namelist()) == 66_001
        assert found.read("last") == b"last"


def test_archive_may_have_more_than_4_gigabytes(tmp_path: Path) -> None:
    with archive(tmp_path, ["last"], sizes=[3_000_000_000] * 2) as found:
        assert found.getinfo("last").header_offset > 2**32
        assert found.read("last") == b"last"
