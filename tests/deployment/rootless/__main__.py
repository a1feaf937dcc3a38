"""`make image-rootless`: carry out the cpu image's steps, run the server from them, and say what was found.

Needs root, buildah, debootstrap and Debian's archive; no engine and no registry of images.
"""

import sys
import tempfile
from pathlib import Path

from deployment.rootless.building import SERVER, build_server, make_base
from deployment.rootless.serving import find_of_server
from deployment.rootless.workshop import opened, parser_of, workshop


def main() -> int:
    """0 when all that was looked at is as it must be."""
    args = parser_of("make image-rootless", __doc__).parse_args()
    with workshop(args.folder, keep=args.keep) as buildah:
        make_base(buildah)
        build_server(buildah)
        with opened(buildah, SERVER) as image, tempfile.TemporaryDirectory() as scratch:
            findings = find_of_server(image, Path(scratch))
    return findings.tell()


if __name__ == "__main__":
    sys.exit(main())
