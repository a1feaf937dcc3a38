"""`diptych collections export`: write a collection of a data folder or a backup as a Parquet file."""

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
    """Declare `diptych collections export NAME FILE.parquet ...`."""
    about = "write a collection of a data folder as a Parquet file"
    verb = verbs.add_parser(
        "export",
        help=about,
        description="Write a collection as a Parquet file: ids, metadata and vectors, and with "
        "--with-images the images. The collection is read from a data folder, which a server may use "
        "meanwhile, or from a backup, as of one moment. Exit code 1 when a kept image is missing.",
    )
    verb.add_argument("name", metavar="NAME", help="the collection")
    verb.add_argument("file", type=Path, metavar="FILE.parquet", help="the file to write")
    add_data_dir_argument(verb)
    verb.add_argument("--with-images", action="store_true", help="include the bytes of kept images")
    verb.add_argument("--overwrite", action="store_true", help="overwrite an existing file")
    verb.add_argument(
        "--model-repo", type=Path, metavar="DIR", help=f"folder of bundles ({PREFIX}MODEL_REPO)"
    )
    group = verb.add_argument_group("which vectors, if the collection has several")
    group.add_argument("--version", type=int, metavar="N", help="vectors of this version of the model")
    group.add_argument("--precision", metavar="NAME", help="vectors in this precision")
    group.add_argument("--decode", choices=["exact", "fast"], help="vectors of images decoded in this mode")
    verb.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return 0 if everything was written, 1 if a kept image was missing."""
    require_parquet()
    given = {name: getattr(args, name) for name in ("data_dir", "model_repo")}
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    if args.file.exists() and not args.overwrite:
        raise ConfigError(f"{args.file} exists: choose another name, or give --overwrite")
    wanted = SourceFilter(args.version, args.precision, args.decode)
    with ProgressBars(hidden=args.json) as progress:
        export = open_parquet_export(settings.data_dir, settings.model_repo, progress)
        done = export.export(args.name, args.file, wanted, with_images=args.with_images)
    if args.json:
        out_json(asdict(done) | {"file": str(args.file)})
    else:
        out(f"{args.file}: {done.n_rows:,} images of {args.name}, with vectors of {done.heading.maker}")
    if done.n_without_vector:
        err(f"{done.n_without_vector} images have no such vector: their embedding is null")
    if done.n_lost_images:
        err(f"{done.n_lost_images} kept images are missing: deleted meanwhile, or their files are lost")
    return 1 if done.n_lost_images else 0
