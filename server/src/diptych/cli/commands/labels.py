"""`diptych labels`: sort the images of a collection by labels that stay, and correct them."""

import argparse
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from diptych.cli.arguments import add_collection_argument, add_server_arguments, existing_path
from diptych.cli.output.console import Align, cell, err, out, out_json, out_table
from diptych.cli.output.named_file import require_writable, writing
from diptych.cli.remote import run_with_client
from diptych.cli.transfer.label_files import PARQUET, label_of, read_given_labels, read_labels
from diptych.wiring.data_folders import require_parquet, write_label_parquet
from diptych_client import Accuracy, Agreement, Client, GivenVerdicts, LabelledImage, LabelThreshold

AT_ONCE = 1_000  # verdicts in one request
N_SHOWN = 10  # confusions, and ids that are not there


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command and of its verbs."""
    parser = subparsers.add_parser(
        "labels",
        help="sort images by labels that stay, and correct them",
        description="Sort the images of a collection by labels of your own, and correct what is wrong. A "
        "label set gives labels to all images of its collection, also to those that are added later.",
    )
    verbs = parser.add_subparsers(required=True, metavar="put|list|show|images|next|set|export|import|drop")
    for name, action, about in (
        ("put", _put, "create a label set, or change its labels"),
        ("list", _list, "list the label sets of a collection"),
        ("show", _show, "show how many images have each label, and how far the model agrees with you"),
        ("images", _images, "list images with their labels"),
        ("next", _next, "list the images that are worth a look next"),
        ("set", _set, "say what the label of an image is"),
        ("export", _export, "write the labels of all images to a file"),
        ("import", _import, "take labels that you have as your word, from a file"),
        ("drop", _drop, "delete a label set, with what was said of its images"),
    ):
        verb = verbs.add_parser(name, help=about, description=f"{about.capitalize()}.")
        if action is not _list:
            verb.add_argument("name", metavar="NAME", help="the label set")
        _add_arguments.get(name, _add_nothing)(verb)
        add_collection_argument(verb)
        add_server_arguments(verb)
        verb.set_defaults(run=run, action=action)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""

    def act(args: argparse.Namespace, client: Client) -> int:
        args.collection = args.collection or client.version().default_collection
        status: int = args.action(args, client)
        return status

    return run_with_client(args, act)


def _add_put(parser: argparse.ArgumentParser) -> None:
    words = "further words for the same thing follow behind |, as in 'invoice | bill'"
    parser.add_argument(
        "file", nargs="?", type=existing_path, metavar="FILE", help=f"file with a label a line; {words}"
    )
    parser.add_argument(
        "--label", action="append", default=[], dest="labels", metavar="L", help=f"a label; {words}"
    )
    parser.add_argument(
        "--kind", choices=["one", "many"], default="one", help="whether an image has one label, or many"
    )
    parser.add_argument("--templates", metavar="NAME", help="a named set of sentences, as in classify")
    parser.add_argument("--min-score", type=float, metavar="P", help="an image has no label below this score")
    parser.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="in place of --min-score: fit it so that this share of the labels is right",
    )
    parser.add_argument(
        "--drop-verdicts", action="store_true", help="delete verdicts that the new labels do not allow"
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", metavar="L", help="only images with this label; '': without a label")
    parser.add_argument(
        "--uncertain-first",
        action="store_true",
        help="images that nobody has reviewed, the least certain first",
    )
    parser.add_argument(
        "--contested",
        action="store_true",
        help="images whose label somebody has changed that another key gave",
    )
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="images at most (100)")


def _add_next(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="images at most (20, up to 100)")


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the image")
    parser.add_argument("labels", nargs="*", metavar="LABEL", help="its label; several in a set of kind many")
    parser.add_argument("--none", action="store_true", help="it has none of the labels")
    parser.add_argument(
        "--withdraw",
        action="store_true",
        help="take back what was said: the former word of another key stands again, or the model's label",
    )
    parser.add_argument("--drawn", action="store_true", help="it was drawn at random, as `next` says")


def _add_export(parser: argparse.ArgumentParser) -> None:
    what = "FILE.csv is CSV, FILE.parquet Parquet, any other JSON Lines"
    parser.add_argument("file", type=Path, metavar="FILE", help=what)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=existing_path,
        metavar="FILE",
        help="CSV with the columns id and label, JSON Lines with these keys, or FILE.parquet with these "
        "columns; rows of an export that a model made are left out",
    )


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    """Add no argument."""


_add_arguments = {
    "put": _add_put,
    "images": _add_images,
    "next": _add_next,
    "set": _add_set,
    "export": _add_export,
    "import": _add_import,
}


def _put(args: argparse.Namespace, client: Client) -> int:
    labels = [label_of(text) for text in args.labels] + (read_labels(args.file) if args.file else [])
    if not labels:
        args.usage_error("no labels: give FILE or --label")
    made = client.put_label_set(
        args.collection,
        args.name,
        labels,
        kind=args.kind,
        templates=args.templates,
        min_score=args.min_score,
        precision=args.precision,
        drop_verdicts=args.drop_verdicts,
    )
    if args.json:
        out_json(asdict(made))
        return 0
    dropped = f", {made.n_dropped} verdicts dropped" if made.n_dropped else ""
    out(f"{made.name}: {len(made.labels)} labels, revision {made.revision}{dropped}")
    for pair in made.alike:
        one, other = map(cell, pair.labels)
        err(f"note: the model hardly tells {one} from {other} (cosine {pair.cosine:.3f})")
    return 0


def _list(args: argparse.Namespace, client: Client) -> int:
    found = client.label_sets(args.collection)
    if args.json:
        out_json([asdict(one) for one in found])
        return 0
    rows = [
        [one.name, one.kind, str(len(one.labels)), ", ".join(label.label for label in one.labels)]
        for one in found
    ]
    out_table(["name", "kind", "labels", ""], rows, ["left", "left", "right", "left"])
    return 0


def _show(args: argparse.Namespace, client: Client) -> int:
    report = client.label_set(args.collection, args.name)
    if args.json:
        out_json(asdict(report))
        return 0
    agreeing = {one.label: one for one in report.agreement.labels}
    rows = [[one.label, str(one.n), *_agreement_cells(agreeing.get(one.label))] for one in report.counts]
    rows.append(["(none)", str(report.n_without_label), "", ""])
    align: list[Align] = ["left", "right", "right", "right"]
    out_table(["label", "images", "reviewed", "agreeing"], rows, align)
    agreement = _share(": the model agrees on", report.agreement, report.n_reviewed)
    out(f"{report.n_images} images by {report.model}, {report.n_reviewed} reviewed{agreement}")
    n_drawn = report.accuracy.n + report.accuracy.n_unlabelled
    if n_drawn:
        out(f"{n_drawn} of them drawn at random{_share(': it is right on', report.accuracy)}")
    if report.n_lapsed:
        waiting = "1 verdict waits" if report.n_lapsed == 1 else f"{report.n_lapsed} verdicts wait"
        out(f"{waiting} for pictures that are gone")
    if report.n_contested:
        pictures = "1 picture" if report.n_contested == 1 else f"{report.n_contested} pictures"
        out(f"reviewers differ about {pictures}: see `diptych labels images {args.name} --contested`")
    if report.precision is not None:
        out(_fitted(report.precision, report.threshold))
    for confusion in report.agreement.confusions[:N_SHOWN]:
        said, proposed = (cell(text or "none") for text in (confusion.label, confusion.proposed))
        out(f"  {confusion.n} of {said} proposed as {proposed}")
    return 0


def _agreement_cells(found: Any) -> list[str]:
    return ["", ""] if found is None else [str(found.n), str(found.n_agree)]


def _share(what: str, found: Accuracy | Agreement, n_images: int | None = None) -> str:
    """What the model agrees on, of pictures that may be fewer than their images."""
    unlabelled = f", {found.n_unlabelled} of them have no label of the model" if found.n_unlabelled else ""
    if found.interval is None:
        return unlabelled
    low, high = found.interval
    is_fewer = n_images is not None and found.n + found.n_unlabelled != n_images
    of = f" of {found.n} different pictures" if is_fewer else f" of {found.n}" if unlabelled else ""
    share = f"{found.n_agree}{of} ({found.n_agree / found.n:.2f}, 95% {low:.2f} to {high:.2f})"
    return f"{what} {share}{unlabelled}"


def _fitted(wanted: float, found: LabelThreshold) -> str:
    if found.fitted_on and found.precision is None:
        return (
            f"no image has a label, as no score reaches a precision of {wanted:g} on {found.fitted_on} "
            "drawn: review more of those that are drawn, or want less"
        )
    if found.precision is None or found.interval is None:
        return f"no score is fitted to a precision of {wanted:g} before 20 pictures are drawn and reviewed"
    low, high = found.interval
    return (
        f"scores from {found.min_score:.3f} on, fitted to a precision of {wanted:g} on {found.fitted_on} "
        f"drawn: {found.precision:.2f}, 95% {low:.2f} to {high:.2f}"
    )


def _images(args: argparse.Namespace, client: Client) -> int:
    found, after = list[LabelledImage](), None
    while len(found) < args.limit:
        page = client.labelled_images(
            args.collection,
            args.name,
            label=args.label,
            uncertain_first=args.uncertain_first,
            contested=args.contested,
            after=after,
            limit=min(args.limit - len(found), AT_ONCE),
        )
        found += page.images
        after = page.next
        if after is None:
            break
    if args.json:
        out_json([asdict(one) for one in found])
        return 0
    rows = [
        [one.id, ", ".join(one.labels) or "(none)", _by(one), f"{one.score:.3f}", f"{one.margin:.3f}"]
        for one in found
    ]
    align: list[Align] = ["left", "left", "left", "right", "right"]
    out_table(["id", "labels", "by", "score", "margin"], rows, align)
    return 0


def _by(image: LabelledImage) -> str:
    before = image.verdict and image.verdict.before
    if image.verdict is None or before is None:
        return image.by
    return f"{cell(image.verdict.by)}, before: {_said(before.labels)} by {cell(before.by)}"


def _next(args: argparse.Namespace, client: Client) -> int:
    found = client.label_proposals(args.collection, args.name, limit=args.limit)
    if args.json:
        out_json(asdict(found))
        return 0
    rows = [
        [
            one.id,
            ", ".join(one.proposed) or "(none)",
            f"{one.score:.3f}",
            f"{one.margin:.3f}",
            "perhaps" if one.none else "",
            "yes" if one.drawn else "",
        ]
        for one in found.images
    ]
    align: list[Align] = ["left", "left", "right", "right", "left", "left"]
    out_table(["id", "proposed", "score", "margin", "none", "drawn"], rows, align)
    return 0


def _set(args: argparse.Namespace, client: Client) -> int:
    if sum(map(bool, (args.labels, args.none, args.withdraw))) != 1:
        args.usage_error("give either labels, --none or --withdraw")
    if args.withdraw:
        verdict = client.withdraw_verdict(args.collection, args.name, args.id)
        if args.json:
            out_json(asdict(verdict))
        else:
            former = verdict.before
            again = f", {_said(former.labels)} by {former.by} stands again" if former else ""
            out(f"{args.id}: {_said(verdict.labels)} by {verdict.by} is withdrawn{again}")
        return 0
    drawn = [args.id] if args.drawn else []
    given = client.give_verdicts(args.collection, args.name, {args.id: args.labels}, drawn=drawn)
    if args.json:
        out_json(asdict(given))
    else:
        for one in given.verdicts:
            before = "" if one.before is None else f", was {_said(one.before.labels)} by {one.before.by}"
            out(f"{one.id}: {_said(one.labels)}{before}")
    _note_ids("not there", given.unknown)
    return 1 if given.unknown else 0


def _said(labels: tuple[str, ...]) -> str:
    return ", ".join(map(cell, labels)) or "none of the labels"


def _export(args: argparse.Namespace, client: Client) -> int:
    require_writable(args.file)
    suffix = args.file.suffix.lower()
    kind: Literal["csv", "jsonl"] = "csv" if suffix == ".csv" else "jsonl"
    if suffix == PARQUET:
        require_parquet()
    payload = client.export_labels(args.collection, args.name, format=kind)
    with writing(args.file):
        if suffix == PARQUET:
            write_label_parquet(args.file, io.BytesIO(payload))
        else:
            args.file.write_bytes(payload)
    n_lines = payload.count(b"\n") - (kind == "csv")
    if args.json:
        written = "parquet" if suffix == PARQUET else kind
        out_json({"file": str(args.file), "format": written, "n_lines": n_lines})
    else:
        out(f"{args.file}: {n_lines} lines")
    return 0


def _import(args: argparse.Namespace, client: Client) -> int:
    given = read_given_labels(args.file)
    label_set = client.label_set(args.collection, args.name)
    given.check(label_set)  # the whole file, before any of it is stored
    export = client.export_labels(args.collection, args.name) if label_set.n_reviewed else b""
    already = given.standing_in(export)  # said again, it would settle a dispute
    rows = [(id, labels) for id, labels in given.labels.items() if id not in already]
    n_stored, n_changed, unknown, replaced = 0, 0, list[str](), list[str]()
    for start in range(0, len(rows), AT_ONCE):
        part = dict(rows[start : start + AT_ONCE])
        stored = client.give_verdicts(
            args.collection, args.name, part, drawn=given.drawn, sha256s=given.sha256s
        )
        n_stored += len(stored.verdicts)
        n_changed += _n_changed(stored)
        unknown += stored.unknown
        replaced += stored.replaced
    if args.json:
        counts = {"n_stored": n_stored, "n_changed": n_changed, "n_already": len(already)}
        counts["n_of_model"] = given.n_of_model
        out_json({**counts, "unknown": unknown, "replaced": replaced})
    else:
        left_out = f", {given.n_of_model} of a model left out" if given.n_of_model else ""
        same = f", {len(already)} already so" if already else ""
        out(f"{args.name}: {n_stored} stored, {n_changed} of them in place of another{same}{left_out}")
    _note_ids("not there", unknown)
    _note_ids("left out, as the picture is another one now", replaced)
    return 1 if unknown or replaced else 0


def _n_changed(given: GivenVerdicts) -> int:
    return sum(one.before is not None and one.before.labels != one.labels for one in given.verdicts)


def _note_ids(what: str, ids: Sequence[str]) -> None:
    for id in ids[:N_SHOWN]:
        err(f"{what}: {id[:140]}")
    if len(ids) > N_SHOWN:
        err(f"{what}: {len(ids) - N_SHOWN} more")


def _drop(args: argparse.Namespace, client: Client) -> int:
    client.drop_label_set(args.collection, args.name)
    if args.json:
        out_json({"dropped": args.name})
    else:
        out(f"{args.name} is dropped")
    return 0
