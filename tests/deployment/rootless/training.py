"""`make training-rootless`: carry out both images' steps, and run the Compose profile `train` to its end.

A server beside it serves the version before and, started anew, the one that was made. Needs root, buildah,
debootstrap, Compose, Debian's archive and the registries of pip and npm; no engine.
"""

import argparse
import sys
import time
from pathlib import Path

from deployment.rootless.building import AUTHORITIES, BASE, SERVER, Buildah, build, build_server, make_base
from deployment.rootless.checkout import make_checkout
from deployment.rootless.own_python import make_base_with
from deployment.rootless.train_profile import train_profile
from deployment.rootless.workshop import opened, parser_of, workshop
from diptych_training.paths import recipe_file

TRAINING = "localhost/diptych-training"


def main() -> int:
    """0 when all that was looked at is as it must be."""
    args = _parser().parse_args()
    began = time.monotonic()
    with workshop(args.folder, keep=args.keep) as buildah:
        make_base(buildah)
        build_server(buildah)
        _build_training(buildah, args)
        with opened(buildah, SERVER) as server, opened(buildah, TRAINING) as training:
            checkout = make_checkout(buildah.folder / "checkout", recipe_file(args.recipe))
            profile = train_profile(server, training, checkout)
            profile.found.figures["base and both images built after s"] = round(time.monotonic() - began, 1)
            findings = profile.find()
    return findings.tell()


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("make training-rootless", __doc__)
    parser.add_argument("--recipe", default="tiny", help="what is trained: a shipped recipe, or a TOML file")
    parser.add_argument("--torch-index", metavar="URL", help="TORCH_INDEX of the image, if not its default")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="wheels that the steps may take, too")
    parser.add_argument(
        "--python", type=Path, metavar="PREFIX",
        help="a Python of this machine in place of Debian's: one that the wheels of torch are for",
    )  # fmt: skip
    return parser


def _build_training(buildah: Buildah, args: argparse.Namespace) -> None:
    base = make_base_with(buildah, args.python) if args.python else BASE
    said = ["[global]", f"cert = {AUTHORITIES}"]
    further = ["--build-arg", f"TORCH_INDEX={args.torch_index}"] if args.torch_index else []
    if args.wheels:
        said.append("find-links = /wheels")
        further += ["--volume", f"{args.wheels.resolve()}:/wheels:ro"]
    of_pip = buildah.folder / "pip.conf"
    of_pip.write_text("\n".join(said) + "\n")
    further += ["--volume", f"{of_pip}:/etc/pip.conf:ro"]
    build(buildah, TRAINING, "docker/training.Dockerfile", *further, base=base)


if __name__ == "__main__":
    sys.exit(main())
