"""`diptych search`: find images by texts, image files, ids of images, or a mix of them."""

import argparse
import os
import webbrowser
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from diptych.cli.arguments import add_server_arguments, image_source, json_object
from diptych.cli.output.console import Align, err, out, out_json, out_table
from diptych.cli.output.contact_sheet import contact_sheet
from diptych.cli.output.metadata import brief, flat, image_name
from diptych.cli.output.named_file import require_writable, writing
from diptych.cli.output.progress import ProgressBars
from diptych.cli.remote import run_with_client
from diptych_client import Client, ClientError, Hit, NotFound, Query, SearchResult

NOT_WEIGHT = -0.5  # of `--not`
THUMBNAIL_PX = 256
MODIFIED = "file.modified"  # of each file, which would only widen the table
MAX_HINTS = 3  # collections that are named
MAX_VALUES = 20  # of a facet in the text; `--json` has all


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "search",
        help="find images by a text, by words of their metadata, or by an image",
        description="Find images of collections by a text, by an image file, by the id of an image in the "
        "collection, or by a mix of them; with --match also by the words of their names and metadata. Best "
        "hits come first.",
    )
    query = parser.add_argument_group("what to search for (several are mixed)")
    for name, metavar, help in (
        ("text", "TEXT", "the text to search for, in quotes"),
        ("--text", "TEXT", "another text"),
        ("--image", "FILE", "find images similar to this file or https URL"),
        ("--id", "ID", "find more images like the one with this id (COLLECTION/ID if several are searched)"),
        ("--not", "TEXT", f"move away from this text (weight {NOT_WEIGHT})"),
    ):
        query.add_argument(
            name,
            action=_AddQuery,
            nargs=None if name.startswith("-") else "?",
            type={"--image": image_source, "--id": _stored_image}.get(name, str),
            metavar=metavar,
            help=help,
        )
    query.add_argument(
        "--weight", action=_SetWeight, type=float, metavar="W", help="weight of the one before (default 1)"
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="number of hits (default 10)")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="skip the N best hits")
    parser.add_argument(
        "--filter",
        type=json_object,
        metavar="JSON",
        help='condition on metadata, such as \'{"album": "pets"}\'',
    )
    parser.add_argument(
        "--collapse",
        type=_collapse,
        metavar="bytes|picture|COSINE",
        help="show images with the same bytes, of the same picture, or with at least this cosine, once",
    )
    parser.add_argument(
        "--facet",
        action="append",
        default=[],
        metavar="FIELD",
        help="count the values of this metadata field among the best hits; may be repeated",
    )
    parser.add_argument(
        "--min-relevance",
        type=_probability,
        metavar="P",
        help="leave out hits with less relevance, from 0 to 1",
    )
    parser.add_argument(
        "--match",
        choices=["meaning", "words", "both"],
        default="meaning",
        help="what finds images: the meaning of the query (default), the words of its one text in names and "
        "metadata, or both",
    )
    parser.add_argument(
        "--order-by",
        metavar="FIELD",
        help="sort the hits that may fit by this metadata field, such as exif.taken_at",
    )
    parser.add_argument(
        "--direction", choices=("asc", "desc"), help="of --order-by; desc: the largest or latest first"
    )
    parser.add_argument(
        "--exact", action="store_true", help="compare with every image instead of using the index"
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write the hits with their pictures as an HTML page"
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="open that page in the browser, if anything was found; without --sheet a temporary file",
    )
    parser.add_argument(
        "--collection",
        action=_AddCollection,
        default=os.environ.get("DIPTYCH_DEFAULT_COLLECTION") or None,
        metavar="NAME",
        help="the collection (DIPTYCH_DEFAULT_COLLECTION, or else the server's default); may be repeated, "
        "'*' is all",
    )
    add_server_arguments(parser)
    parser.set_defaults(run=run, queries=())


def _stored_image(text: str) -> Query:
    collection, _, id = text.rpartition("/")
    return Query(id=id, collection=collection or None)


def _probability(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (number := float(text)) <= 1:
            return number
    raise argparse.ArgumentTypeError(f"{text[:100]!r} must be a number from 0 to 1, such as 0.1")


def _collapse(text: str) -> str | float:
    if text in {"bytes", "picture"}:
        return text
    with suppress(ValueError):
        if 0 < (cosine := float(text)) <= 1:
            return cosine
    raise argparse.ArgumentTypeError(
        f"{text[:100]!r} must be bytes, picture or a cosine above 0, at most 1, such as 0.97"
    )


class _AddQuery(argparse.Action):
    """Append a query to `queries`."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option_string: str | None = None) -> None:
        if value is not None:
            match self.dest:
                case "not":
                    query = Query(text=value, weight=NOT_WEIGHT)
                case "id":
                    query = value
                case _:
                    query = Query(**{self.dest: value})
            namespace.queries = [*namespace.queries, query]


class _AddCollection(argparse.Action):
    """Append a name to a list, which takes the place of the default."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option_string: str | None = None) -> None:
        names = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(names if isinstance(names, list) else []), value])


class _SetWeight(argparse.Action):
    """Set the weight of the last of the `queries`."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option_string: str | None = None) -> None:
        if not namespace.queries:
            parser.error("--weight stands after what it weighs")
        *before, last = namespace.queries
        namespace.queries = [*before, replace(last, weight=value)]


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    if not args.queries:
        args.usage_error("give WORDS, --image or --id to search for")
    if args.direction is not None and args.order_by is None:
        args.usage_error("--direction needs --order-by")
    names = {f"query[{i}]": str(one.image or one.id or one.text) for i, one in enumerate(args.queries)}
    return run_with_client(args, _search, names)


def _search(args: argparse.Namespace, client: Client) -> int:
    names = args.collection if isinstance(args.collection, list) else [args.collection]
    several = names if len(names) > 1 or names == ["*"] else None
    require_writable(args.sheet)
    result = client.search(
        queries=args.queries,
        k=args.k,
        offset=args.offset,
        filter=args.filter,
        collection=None if several else names[0],
        collections=several,
        exact=args.exact,
        min_relevance=args.min_relevance,
        facets=args.facet,
        collapse=args.collapse,
        match=args.match,
        order_by=args.order_by,
        direction=args.direction,
    )
    opened = args.open and bool(result.hits)
    sheet = _write_sheet(args, client, result) if args.sheet is not None or opened else None
    if args.json:
        out_json(asdict(result))
    else:
        _show(result, args.offset, bounded=args.min_relevance is not None or args.order_by is not None)
        if result.sorted_all is False:
            err("note: more hits may fit than were sorted; --filter or --min-relevance leaves fewer")
        for facet in result.facets:
            counts = "  ".join(f"{brief(one.value)} {one.count}" for one in facet.values[:MAX_VALUES])
            rest = "  ..." if len(facet.values) > MAX_VALUES else ""
            out(f"{facet.field} of the {facet.n_hits} best: {counts}{rest}")
        if result.truncated:
            err("note: a text was truncated, longer than the model reads")
        if result.words_incomplete:
            err("note: the words of some images are not indexed yet, so that these are not found by words")
        if sheet is not None:
            out(f"{sheet} has the pictures")
        if not result.hits:
            _hint_at_other_collections(args, client, result)
    if opened and sheet is not None and not webbrowser.open(sheet.absolute().as_uri()):
        err(f"note: there is no browser to open {sheet} with")
    return 0


def _write_sheet(args: argparse.Namespace, client: Client, result: SearchResult) -> Path:
    """Write the page, with the thumbnails that the server has."""
    thumbnails = dict[tuple[str, str], bytes]()
    with ProgressBars(hidden=args.json) as bars:
        bars.begin("fetching pictures", len(result.hits))
        for hit in result.hits:
            with suppress(NotFound):  # deleted since, or its file is not kept
                thumbnails[hit.collection, hit.id] = client.thumbnail(
                    hit.collection, hit.id, size_px=THUMBNAIL_PX
                )
            bars.advance()
    page = contact_sheet(args.queries, result, thumbnails, offset=args.offset)
    if args.sheet is not None:
        with writing(args.sheet):
            args.sheet.write_text(page, encoding="utf-8")
        return Path(args.sheet)
    with NamedTemporaryFile("w", encoding="utf-8", prefix="diptych-", suffix=".html", delete=False) as file:
        file.write(page)
    return Path(file.name)


def _hint_at_other_collections(args: argparse.Namespace, client: Client, result: SearchResult) -> None:
    """Say so if what was searched has no images, and what has."""
    with suppress(ClientError):  # the search itself has been answered
        sizes = {one.name: one.n_images for one in client.collections()}
        if any(sizes.get(name) for name in result.collections):
            return
        empty = " and ".join(result.collections[:MAX_HINTS]) or "the server"
        others = sorted((name for name in sizes if sizes[name]), key=lambda name: -sizes[name])
        if others:
            shown = ", ".join(f"--collection {name} ({sizes[name]:,} images)" for name in others[:MAX_HINTS])
            err(f"note: {empty} has no images; search another with {shown}")
        else:
            into = "".join(f" --collection {name}" for name in result.collections[:1] if args.collection)
            err(f"note: {empty} has no images; `diptych add FOLDER{into}` adds some")


def _show(result: SearchResult, offset: int, *, bounded: bool) -> None:
    if not result.hits:
        out("nothing fits" if bounded else "nothing found")
        return
    calibrated = any(hit.relevance is not None for hit in result.hits)
    named = any(_name(hit, result) != _id(hit, result) for hit in result.hits)
    by_words = any(hit.matched_fields for hit in result.hits)
    header = ["", "name" if named else "id", "cosine", *(["relevance"] if calibrated else []), "metadata"]
    align: list[Align] = ["right", "left", "right", *(["right"] if calibrated else []), "left"]  # type: ignore[list-item]
    rows = [_row(rank, hit, result, calibrated) for rank, hit in enumerate(result.hits, offset + 1)]
    if by_words:
        header, align = [*header, "words in"], [*align, "left"]
        rows = [[*row, ", ".join(hit.matched_fields)] for row, hit in zip(rows, result.hits, strict=True)]
    if named:  # the id stands last, to be copied
        header, align = [*header, "id"], [*align, "left"]
        rows = [[*row, _id(hit, result)] for row, hit in zip(rows, result.hits, strict=True)]
    out_table(header, rows, align)


def _row(rank: int, hit: Hit, result: SearchResult, calibrated: bool) -> list[str]:
    name = _name(hit, result)
    shown = f"{name} (+{len(hit.duplicates)})" if hit.duplicates else name
    relevance = "" if hit.relevance is None else f"{hit.relevance:.2f}"
    metadata = "  ".join(
        f"{field}={brief(value)}"
        for field, value in flat(hit.metadata).items()
        if value != name and field != MODIFIED
    )
    return [str(rank), shown, f"{hit.cosine:.3f}", *([relevance] if calibrated else []), metadata]


def _name(hit: Hit, result: SearchResult) -> str:
    return image_name(hit.metadata) or _id(hit, result)


def _id(hit: Hit, result: SearchResult) -> str:
    return f"{hit.collection}/{hit.id}" if len(result.collections) > 1 else hit.id
