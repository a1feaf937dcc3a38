"""`diptych collections export`: a collection of a folder as a Parquet file."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.cli.arguments import add_data_dir_argument
from diptych.cli.output.console import err, out, out_json
from diptych.cli.output.progress import ProgressBars
from diptych.core.transfer import SourceFilter
from diptych.errors import ConfigError
from diptych.settings import PREFIX, read_settings
from diptych.wiring.data_folders import open_parquet_export, require_parquet


def add_verb(verbs: Any) -> None:
    """`diptych collections export NAME FILE.parquet ...`."""
    about = "write a collection as a Parquet file, out of its folder"
    verb = verbs.add_parser(
        "export",
        help=about,
        description="Write a collection as a Parquet file: ids, metadata and vectors, and the images if "
        "they are asked for. It is read out of a data folder, beside a server too, or out of a backup, as "
        "it is at one moment. Exit code 1 when a kept image could not be had.",
    )
    verb.add_argument("name", metavar="NAME", help="the collection")
    verb.add_argument("file", type=Path, metavar="FILE.parquet", help="the file to write")
    add_data_dir_argument(verb)
    verb.add_argument("--with-images", action="store_true", help="the bytes of kept images, too")
    verb.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    verb.add_argument(
        "--model-repo", type=Path, metavar="DIR", help=f"folder of bundles ({PREFIX}MODEL_REPO)"
    )
    group = verb.add_argument_group("whose vectors, where a collection has those of several")
    group.add_argument("--version", type=int, metavar="N", help="of this version of the model")
    group.add_argument("--precision", metavar="NAME", help="in this precision")
    group.add_argument("--decode", choices=["exact", "fast"], help="of images decoded like this")
    verb.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when all is there, 1 when an image was lost."""
    require_parquet()
    given = {name: getattr(args, name) for name in ("data_dir", "model_repo")}
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    if args.file.exists() and not args.overwrite:
        raise ConfigError(f"{args.file} exists: choose another name, or say --overwrite")
    wanted = SourceFilter(args.version, args.precision, args.decode)
    with ProgressBars(hidden=args.json) as bars:
        export = open_parquet_export(settings.data_dir, settings.model_repo, bars)
        done = export.export(args.name, args.file, wanted, with_images=args.with_images)
    if args.json:
        out_json(asdict(done) | {"file": str(args.file)})
    else:
        out(f"{args.file}: {done.n_rows:,} images of {args.name}, with vectors of {done.heading.maker}")
    if done.n_without_vector:
        err(f"{done.n_without_vector} images have no such vector: their embedding is null")
    if done.n_lost_images:
        err(f"{done.n_lost_images} kept images could not be had: deleted meanwhile, or their files are lost")
    return 1 if done.n_lost_images else 0
