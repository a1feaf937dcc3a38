"""`make image-rootless`: carry out the cpu image's steps, run the server from them, and say what was found.

Needs root, buildah, debootstrap and Debian's archive; no engine and no registry of images.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from deployment.rootless.building import Buildah, build, make_base, open_image
from deployment.rootless.findings import Findings, find

IMAGE = "localhost/diptych-server:cpu"


def main() -> int:
    """0 when all that was looked at is as it must be."""
    parser = argparse.ArgumentParser(prog="make image-rootless", description=__doc__)
    cache = Path(os.environ.get("DIPTYCH_CACHE") or Path.home() / ".cache" / "diptych")
    parser.add_argument("--folder", type=Path, default=cache / "rootless", help="where images are kept")
    parser.add_argument("--keep", action="store_true", help="keep the image's files afterwards (1 GB)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it mounts the image's root, and gives its rights up to run the server")
    args.folder.mkdir(parents=True, exist_ok=True)
    buildah = Buildah(args.folder)
    make_base(buildah)
    build(buildah, IMAGE, "cpu")
    container, image = open_image(buildah, IMAGE)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            findings = find(image, Path(scratch))
    finally:
        buildah.run("rm", container)
        if not args.keep:
            for name in ("storage", "run"):
                shutil.rmtree(args.folder / name, ignore_errors=True)
    return tell(findings)


def tell(findings: Findings) -> int:
    """Print them, the failures last."""
    print(json.dumps(findings.figures, indent=1))
    for name, wrong in findings.checks.items():
        print(f"{'no: ' + wrong if wrong else 'yes':4} {name}")
    return int(any(findings.checks.values()))


if __name__ == "__main__":
    sys.exit(main())
