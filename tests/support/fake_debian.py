"""`apt-get` and `dpkg-deb` on the PATH: one makes a file, the other copies a folder for it."""

from pathlib import Path

import pytest


class FakeDebian:
    """Unpacks `package` in a folder for any file; what was asked of apt-get is in `asked`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bin = folder / "bin"
        self._bin.mkdir()
        monkeypatch.setenv("PATH", f"{self._bin}:/usr/bin:/bin")
        self.runs("apt-get", f'echo "$@" > {folder}/asked\ntouch "$2_1_all.deb"')
        self.runs("dpkg-deb", f'[ -f "$2" ] && cp -r {folder}/package "$3"')

    def runs(self, program: str, script: str) -> None:
        """Let a program run this script."""
        (self._bin / program).write_text(f"#!/bin/sh\n{script}\n")
        (self._bin / program).chmod(0o755)
