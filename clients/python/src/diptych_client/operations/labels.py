"""Calls of label sets: define them, list what images have, say what is right."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from diptych_client.binding import Call
from diptych_client.results.common import Json
from diptych_client.results.labels import (
    GivenVerdicts,
    Label,
    LabelledImagePage,
    LabelProposals,
    LabelSet,
    LabelSetReport,
    PutLabelSet,
    Verdict,
)
from diptych_client.steps import Request, Steps, exchange, path_of, result_of


def label_sets(collection: str) -> Steps[list[LabelSet]]:
    """List the label sets of a collection, by name.

    >>> client.label_sets("pets")
    []
    """
    return result_of(Request("GET", _path(collection)), list[LabelSet], "label_sets")


def put_label_set(
    collection: str,
    name: str,
    labels: Sequence[str | Label],
    *,
    kind: Literal["one", "many"] = "one",
    templates: Sequence[str] | str | None = None,
    min_score: float | None = None,
    precision: float | None = None,
    drop_verdicts: bool = False,
) -> Steps[PutLabelSet]:
    """Create a label set, or change its definition: all images have its labels from then on.

    Labels are texts, or a `Label` with further words. An image has one of them, or with the kind "many" any
    number; none that scores below `min_score`. With `precision`, the least score is fitted so that this share
    of the labels is right, by the pictures that were drawn at random. `templates` are those of `classify`.
    Verdicts stay. Raises Conflict if some have labels that an image could not have any more, unless
    `drop_verdicts`.

    >>> made = client.put_label_set("pets", "kind", ["cat", Label("dog", ("puppy", "hound"))])
    >>> made.revision, made.labels[1].words
    (1, ('puppy', 'hound'))
    """
    body: Json = {
        "labels": [
            one if isinstance(one, str) else {"label": one.label, "words": list(one.words)} for one in labels
        ],
        "kind": kind,
        "templates": templates if templates is None or isinstance(templates, str) else list(templates),
        "min_score": min_score,
        "precision": precision,
        "drop_verdicts": drop_verdicts,
    }
    return result_of(Request("PUT", _path(collection, name), json=body), PutLabelSet)


def label_set(collection: str, name: str) -> Steps[LabelSetReport]:
    """Return a label set, how many images have each label, and how far the model agrees with people.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> report = client.label_set("pets", "kind")
    >>> report.n_images, sum(count.n for count in report.counts), report.agreement.n
    (2, 2, 0)
    """
    return result_of(Request("GET", _path(collection, name)), LabelSetReport)


def drop_label_set(collection: str, name: str) -> Steps[None]:
    """Delete a label set with its verdicts.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> client.drop_label_set("pets", "kind")
    """
    yield from exchange(Request("DELETE", _path(collection, name), idempotent=False))


def labelled_images(
    collection: str,
    name: str,
    *,
    label: str | None = None,
    uncertain_first: bool = False,
    contested: bool = False,
    after: str | None = None,
    limit: int = 100,
) -> Steps[LabelledImagePage]:
    """List at most `limit` images with their labels, by id, beginning after the `next` of the page before.

    With `label`, those that have it; with an empty one, those without a label. With `uncertain_first`, those
    that nobody has reviewed, the smallest margin first. With `contested`, those whose label somebody has
    changed that another key gave.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> [(image.id, image.by) for image in client.labelled_images("pets", "kind").images]
    [('rex', 'model'), ('tom', 'model')]
    """
    chosen = {"uncertain_first": uncertain_first, "contested": contested}
    params = {"limit": str(limit)} | {key: "true" for key, value in chosen.items() if value}
    optional = {"label": label, "after": after}
    params |= {key: value for key, value in optional.items() if value is not None}
    return result_of(Request("GET", _path(collection, name, "images"), params), LabelledImagePage)


def label_proposals(collection: str, name: str, *, limit: int = 20) -> Steps[LabelProposals]:
    """Return at most `limit` (100 at most) images to review next.

    Of each five, four are those with the smallest margin; one is drawn at random: say so with the verdict.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> found = client.label_proposals("pets", "kind")
    >>> sorted(image.id for image in found.images), found.n_unreviewed
    (['rex', 'tom'], 2)
    """
    request = Request("GET", _path(collection, name, "proposals"), {"limit": str(limit)})
    return result_of(request, LabelProposals)


def export_labels(
    collection: str, name: str, *, format: Literal["jsonl", "csv"] = "jsonl", label: str | None = None
) -> Steps[bytes]:
    """Return the labels of all images, by id, as JSON Lines or CSV. `label` is that of `labelled_images`.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> client.export_labels("pets", "kind", format="csv").splitlines()[0]
    b'id,label,score,margin,by,drawn,model,version,sha256'
    """
    params = {"format": format} | ({} if label is None else {"label": label})
    return (yield from exchange(Request("GET", _path(collection, name, "export"), params))).content


def give_verdicts(
    collection: str,
    name: str,
    verdicts: Mapping[str, str | Sequence[str] | None],
    *,
    drawn: Collection[str] = (),
    sha256s: Mapping[str, str] | None = None,
) -> Steps[GivenVerdicts]:
    """Say what the labels of images are, by id: a label, several, or None for none of these. All are stored,
    or none.

    From then on these are their labels. The later word stands; the answer has the one before. `drawn` are the
    ids of images that were proposed at random. `sha256s`, by id, say which bytes were judged: an image that
    has others now is left out, in `replaced`.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> given = client.give_verdicts("pets", "kind", {"tom": "cat", "rex": None})
    >>> [(one.id, one.labels, one.before) for one in given.verdicts]
    [('tom', ('cat',), None), ('rex', (), None)]
    """
    rows = list[Json]()
    for id, said in verdicts.items():
        is_one = said is None or isinstance(said, str)
        row: Json = {"id": id} | ({"label": said} if is_one else {"labels": [*(said or ())]})
        row |= {"drawn": True} if id in drawn else {}
        row |= {"sha256": sha256s[id]} if sha256s and id in sha256s else {}
        rows.append(row)
    return result_of(
        Request("POST", _path(collection, name, "verdicts"), json={"verdicts": rows}), GivenVerdicts
    )


def withdraw_verdict(collection: str, name: str, id: str) -> Steps[Verdict]:
    """Withdraw the verdict on an image and return it.

    What another key had said before, in its `before`, stands again; else the image has the labels of the
    model again.

    >>> made = client.put_label_set("pets", "kind", ["cat", "dog"])
    >>> given = client.give_verdicts("pets", "kind", {"tom": "cat"})
    >>> client.withdraw_verdict("pets", "kind", "tom").labels
    ('cat',)
    """
    # Sent again after a lost connection, it would raise NotFound for what it has done.
    request = Request("DELETE", _path(collection, name, "verdicts", id), idempotent=False)
    return result_of(request, Verdict)


def _path(collection: str, *more: str) -> str:
    return path_of("collections", collection, "label-sets", *more)


class LabelCalls:
    """The calls of this module, as methods of both clients."""

    label_sets = Call(label_sets)
    put_label_set = Call(put_label_set)
    label_set = Call(label_set)
    drop_label_set = Call(drop_label_set)
    labelled_images = Call(labelled_images)
    label_proposals = Call(label_proposals)
    export_labels = Call(export_labels)
    give_verdicts = Call(give_verdicts)
    withdraw_verdict = Call(withdraw_verdict)
