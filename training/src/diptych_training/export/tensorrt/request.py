"""Flags of `diptych-train export --tensorrt`, and the optimisation profiles of its plans."""

import argparse
from dataclasses import dataclass

from diptych.bundle.manifest import TextSpec
from diptych.bundle.tensorrt_build import Extent, Profile, usual_lengths
from diptych.errors import InvalidValue

PRECISIONS = ("fp16", "fp32")
# Small batches for a waiting client, and large batches for throughput: each profile has its own kernels.
IMAGE_BATCHES = (Extent(min=1, opt=1, max=4), Extent(min=1, opt=32, max=256))
TEXT_BATCHES = (Extent(min=1, opt=1, max=4), Extent(min=1, opt=64, max=256))


@dataclass(frozen=True)
class PlanRequest:
    """Which plans to build. `ungated` publishes them even if they do not match the model."""

    precisions: tuple[str, ...] = ("fp16",)
    ungated: bool = False


def image_profiles() -> list[Profile]:
    """A profile for each range of batch sizes."""
    return [Profile(batch=batch) for batch in IMAGE_BATCHES]


def text_profiles(spec: TextSpec) -> list[Profile]:
    """A profile for each range of batch sizes, with all text lengths that a server may use."""
    return [Profile(batch=batch, length=usual_lengths(spec.lengths)) for batch in TEXT_BATCHES]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags as a group."""
    group = parser.add_argument_group("TensorRT plans, built on a machine with their target GPU")
    group.add_argument(
        "--tensorrt",
        action="store_true",
        help="build plans for the GPU of this machine, and publish them as a version of their own",
    )
    group.add_argument(
        "--from-version",
        type=int,
        metavar="N",
        help="build plans of this version of the model instead of a run (also for --add-proof-set)",
    )
    group.add_argument(
        "--plan-precisions", default="fp16", metavar="LIST", help="fp16 (default), fp32 or both"
    )


def plan_request(args: argparse.Namespace) -> PlanRequest | None:
    """The request; None without --tensorrt. Raises InvalidValue for flags that cannot be combined."""
    if args.add_proof_set:
        if args.tensorrt or args.run_dir is not None or args.from_version is None:
            raise InvalidValue("--add-proof-set needs --from-version, and neither --run nor --tensorrt")
        return None
    if not args.tensorrt:
        if args.from_version is not None:
            raise InvalidValue(
                "--from-version needs --tensorrt or --add-proof-set: a version is already exported"
            )
        if args.run_dir is None:
            raise InvalidValue("--run is required: it names the run to export")
        return None
    if (args.run_dir is None) == (args.from_version is None):
        raise InvalidValue("--tensorrt needs --run, or --from-version with a version of --name")
    return PlanRequest(parse_plan_precisions(args.plan_precisions), args.ungated)


def parse_plan_precisions(text: str) -> tuple[str, ...]:
    """``fp16,fp32`` -> precisions. Raises InvalidValue, for int8 too: TensorRT quantises differently."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise InvalidValue(f"{text!r}: the precisions of plans are {' and '.join(PRECISIONS)}")
    return names
