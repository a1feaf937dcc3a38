"""The flags of `diptych-train export --tensorrt`, and what they ask for. Builds nothing."""

import argparse

from diptych.errors import InvalidValue
from diptych_training.plans.request import (
    IMAGE_BATCHES,
    TEXT_BATCHES,
    PlanRequest,
    parse_extent,
    parse_plan_precisions,
)

GIB = 2**30
LEVELS = range(6)
SHAPES = "MIN:OPT:MAX"


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
        "--image-batch",
        action="append",
        metavar=SHAPES,
        help=f"sizes of batches of images; again for a further profile ({_default(IMAGE_BATCHES)})",
    )
    group.add_argument(
        "--text-batch",
        action="append",
        metavar=SHAPES,
        help=f"sizes of batches of texts; again for a further profile ({_default(TEXT_BATCHES)})",
    )
    group.add_argument("--lengths", metavar=SHAPES, help="tokens of a text (all that the model takes)")
    group.add_argument(
        "--plan-precisions", default="fp16", metavar="LIST", help="fp16 (default), fp32 or both"
    )
    group.add_argument(
        "--optimization-level",
        type=int,
        default=3,
        choices=LEVELS,
        help="how much TensorRT tries: 5 the most, and the longest (3)",
    )
    group.add_argument(
        "--workspace-gib", type=float, metavar="N", help="memory that TensorRT may use as it builds (all)"
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
    if args.workspace_gib is not None and not args.workspace_gib > 0:
        raise InvalidValue(f"--workspace-gib is {args.workspace_gib:g}, it must be above 0")
    return PlanRequest(
        image_batches=tuple(map(parse_extent, args.image_batch or ())) or IMAGE_BATCHES,
        text_batches=tuple(map(parse_extent, args.text_batch or ())) or TEXT_BATCHES,
        lengths=None if args.lengths is None else parse_extent(args.lengths),
        precisions=parse_plan_precisions(args.plan_precisions),
        optimization_level=args.optimization_level,
        workspace_bytes=None if args.workspace_gib is None else int(args.workspace_gib * GIB),
        ungated=args.ungated,
    )


def _default(extents: tuple[object, ...]) -> str:
    return "default " + " and ".join(map(str, extents))
