"""`diptych collections export`: write collections of a data folder, a backup or a store as Parquet files."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.cli.arguments import add_data_dir_argument
from diptych.cli.output.console import err, out, out_json
from diptych.cli.output.progress import ProgressBars
from diptych.core.transfer import ANY_SOURCE, SourceFilter
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings, read_settings
from diptych.wiring.data_folders import open_parquet_export, require_parquet

ALL = "*"


def add_verb(verbs: Any) -> None:
    """Declare `diptych collections export NAME FILE.parquet ...`, and `'*' FOLDER`."""
    about = "write a collection as a Parquet file, or all of them into a folder"
    verb = verbs.add_parser(
        "export",
        help=about,
        description="Write a collection as a Parquet file: ids, metadata and vectors, and with "
        "--with-images the images. With '*' all collections are written into a folder, with their settings, "
        "label sets and verdicts. What is read is a data folder, which a server may use "
        "meanwhile, a backup, or the database of DIPTYCH_STORE, as of one moment. Exit code 1 when a kept "
        "image is missing.",
    )
    verb.add_argument("name", metavar="NAME", help="the collection; '*': all")
    verb.add_argument("file", type=Path, metavar="FILE.parquet", help="the file, or folder, to write")
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
    verb.set_defaults(run=run, usage_error=verb.error)


def run(args: argparse.Namespace) -> int:
    """Return 0 if everything was written, 1 if a kept image was missing."""
    require_parquet()
    given = {name: getattr(args, name) for name in ("data_dir", "model_repo")}
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    if args.name == ALL:
        return _export_all(args, settings)
    if args.file.exists() and not args.overwrite:
        raise ConfigError(f"{args.file} exists: choose another name, or give --overwrite")
    wanted = SourceFilter(args.version, args.precision, args.decode)
    with ProgressBars(hidden=args.json) as progress:
        export = open_parquet_export(settings, progress)
        done = export.export(args.name, args.file, wanted, with_images=args.with_images)
    if args.json:
        out_json(asdict(done) | {"file": str(args.file)})
    else:
        out(f"{args.file}: {done.n_rows:,} images of {args.name}, with vectors of {done.heading.maker}")
    _warn(done.n_without_vector, done.n_lost_images)
    return 1 if done.n_lost_images else 0


def _export_all(args: argparse.Namespace, settings: Settings) -> int:
    if SourceFilter(args.version, args.precision, args.decode) != ANY_SOURCE:
        args.usage_error("--version, --precision and --decode are for one collection, not for '*'")
    if args.file.exists() and not args.overwrite and (not args.file.is_dir() or any(args.file.iterdir())):
        raise ConfigError(f"{args.file} exists: name a new or an empty folder, or give --overwrite")
    with ProgressBars(hidden=args.json) as progress:
        done = open_parquet_export(settings, progress).export_all(args.file, with_images=args.with_images)
    summaries = [summary for _, summary in done if summary is not None]
    n_lost = sum(one.n_lost_images for one in summaries)
    if args.json:
        out_json({"folder": str(args.file), "collections": [asdict(one) for one, _ in done], "lost": n_lost})
    else:
        for one, summary in done:
            vectors = "" if summary is None else f", with vectors of {summary.heading.maker}"
            n_verdicts = sum(len(label_set.verdicts) for label_set in one.label_sets)
            labels = f", label sets: {len(one.label_sets)}, verdicts: {n_verdicts}" if one.label_sets else ""
            out(f"{one.setup.name}: {one.n_images:,} images, {one.n_with_image:,} files{vectors}{labels}")
    _warn(sum(one.n_without_vector for one in summaries), n_lost)
    return 1 if n_lost else 0


def _warn(n_without_vector: int, n_lost_images: int) -> None:
    if n_without_vector:
        err(f"{n_without_vector} images have no such vector: their embedding is null")
    if n_lost_images:
        err(f"{n_lost_images} kept images are missing: deleted meanwhile, or their files are lost")
