"""Run programs in Node, where the JavaScript client lives. `make test` installs it."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.documents import ROOT

CLIENT = ROOT / "clients" / "js"
PAGE_CLIENT = ROOT / "server" / "src" / "diptych" / "http" / "page" / "diptych-client"
"""The compiled client, which the page of the server loads."""
OLDEST = 20


def node_version() -> int:
    """The first number of Node's version; 0 where there is none."""
    node = shutil.which("node")
    if node is None:
        return 0
    shown = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"\d+", shown)[0])


needs_node = pytest.mark.skipif(node_version() < OLDEST, reason=f"needs node {OLDEST} or newer")


def run_node(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run node with variables beside those of this process. Returns what it printed, and its exit status."""
    variables: Mapping[str, str] = {**os.environ, **environment}
    return subprocess.run(
        ["node", *arguments], cwd=cwd, env=variables, capture_output=True, text=True, timeout=240, check=False
    )
