"""What `diptych-train export --tensorrt` asks for: precisions and shapes, as data. Knows no TensorRT."""

import argparse
from dataclasses import dataclass

from diptych.bundle.manifest import TextSpec
from diptych.bundle.tensorrt_build import Extent, Profile, usual_lengths
from diptych.errors import InvalidValue

PRECISIONS = ("fp16", "fp32")
# One item or a few, for a client that waits, and batches for many: each has kernels of its own.
IMAGE_BATCHES = (Extent(min=1, opt=1, max=4), Extent(min=1, opt=32, max=256))
TEXT_BATCHES = (Extent(min=1, opt=1, max=4), Extent(min=1, opt=64, max=256))


@dataclass(frozen=True)
class PlanRequest:
    """Which plans to build. `ungated` publishes them even if they do not follow the model."""

    precisions: tuple[str, ...] = ("fp16",)
    ungated: bool = False


def image_profiles() -> list[Profile]:
    """One for each range of batches."""
    return [Profile(batch=batch) for batch in IMAGE_BATCHES]


def text_profiles(spec: TextSpec) -> list[Profile]:
    """One for each range of batches, each of every length that a server may ask for."""
    return [Profile(batch=batch, length=usual_lengths(spec.lengths)) for batch in TEXT_BATCHES]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A group of their own."""
    group = parser.add_argument_group("plans of TensorRT, built on a machine with the GPU that they are for")
    group.add_argument(
        "--tensorrt",
        action="store_true",
        help="build plans for the GPU of this machine, and publish them as a version of their own",
    )
    group.add_argument(
        "--from-version",
        type=int,
        metavar="N",
        help="of this version of the model, in the place of a run",
    )
    group.add_argument(
        "--plan-precisions", default="fp16", metavar="LIST", help="fp16 (default), fp32 or both"
    )


def plan_request(args: argparse.Namespace) -> PlanRequest | None:
    """What is asked for; None without --tensorrt. Raises InvalidValue for flags that do not go together."""
    if not args.tensorrt:
        if args.from_version is not None:
            raise InvalidValue("--from-version needs --tensorrt: a version is exported already")
        if args.run_dir is None:
            raise InvalidValue("--run is needed: what shall be exported?")
        return None
    if (args.run_dir is None) == (args.from_version is None):
        raise InvalidValue("--tensorrt needs --run, or --from-version with a version of --name")
    return PlanRequest(parse_plan_precisions(args.plan_precisions), args.ungated)


def parse_plan_precisions(text: str) -> tuple[str, ...]:
    """``fp16,fp32`` -> its names. Raises InvalidValue: TensorRT quantises otherwise than our int8 graphs."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise InvalidValue(f"{text!r}: precisions of plans are {' and '.join(PRECISIONS)}")
    return names
