"""Find the reviewed pictures of a label set, and keep those that a model can learn from in the cache."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from diptych_client import Client, ImageRecord, LabelSet
from diptych_training.data.pairs.pair import Texts
from diptych_training.errors import DataError
from diptych_training.files import exclusive_lock, make_private_folder
from diptych_training.paths import cache_dir
from diptych_training.refresh.evaluation.candidates import Candidates
from diptych_training.refresh.pairs.findings import first_examples
from diptych_training.refresh.pairs.prepare import MIN_PAIRS
from diptych_training.refresh.reviewed.download import ENDINGS, download, file_name, in_folder, write_texts
from diptych_training.refresh.reviewed.server import Address, connected

AT_ONCE = 1_000  # ids in one request
MIN_LABELS = 2


@dataclass(frozen=True)
class Reviewed:
    """A folder with the reviewed pictures, each with its texts, and the labels to judge by.

    `text` says how many were found, and which were left out.
    """

    address: Address
    folder: Path
    candidates: Candidates
    text: str


def fetch_reviewed(address: Address, api_key: str | None) -> Reviewed:
    """Read what people said, and download the pictures that are not in the cache yet.

    Raises DataError if fewer than MIN_PAIRS pictures have a label and an original, if all have one label, and
    if the server does not answer, refuses the key, or has no such label set.
    """
    all_sets = cache_dir() / "label-sets"
    of_server = all_sets / sha256(address.url.encode()).hexdigest()[:12]
    for private in (all_sets, of_server):
        make_private_folder(private)
    folder = of_server / in_folder(f"{address.collection}-{address.label_set}")
    in_use = DataError(f"another process downloads the pictures of {address}")
    with (
        exclusive_lock(folder.with_name(f".{folder.name}.lock"), in_use),
        connected(address, api_key) as client,
    ):
        label_set = _label_set(client, address)
        found = _Found.of(address, client.export_labels(address.collection, address.label_set))
        found.n_contested = client.label_set(address.collection, address.label_set).n_contested
        found.require_enough()
        records = _records(client, found)
        found.require_enough()
        for id in download(client, records, folder):
            found.leave_out(id, found.missing)
        found.require_enough()
        words = {one.label: (one.label, *one.words) for one in label_set.labels}
        right = {file_name(records[id]): labels for id, labels in found.labels.items()}
        write_texts({name: _texts(labels, words) for name, labels in right.items()}, folder)
    candidates = Candidates(labels=tuple(words.values()), templates=label_set.templates, right=right)
    return Reviewed(address, folder, candidates, str(found))


@dataclass
class _Found:
    """The labels of reviewed images by id. Left out are those that are none of the labels, copies of another
    one, and those whose original is `missing` on the server. Reviewers differ about `n_contested` images.
    """

    address: Address
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_none: int = 0
    n_contested: int = 0
    copies: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, address: Address, export: bytes) -> "_Found":
        """Read the lines of an export that are a person's word."""
        found = cls(address)
        for line in export.splitlines():
            row = json.loads(line)
            if row["by"] == "person" and row["labels"]:
                found.labels[row["id"]] = tuple(row["labels"])
            elif row["by"] == "person":
                found.n_none += 1
        return found

    def leave_out(self, id: str, reason: list[str]) -> None:
        """Move an image to one of the lists."""
        reason.append(id)
        del self.labels[id]

    def require_enough(self) -> None:
        """Raise DataError if a refresh would refuse the pictures, before they are downloaded."""
        if len(self.labels) < MIN_PAIRS:
            address = self.address
            raise DataError(
                f"{self}. A refresh needs {MIN_PAIRS}, review more: diptych labels next {address.label_set} "
                f"--collection {address.collection}"
            )
        labels = {label for given in self.labels.values() for label in given}
        if len(labels) < MIN_LABELS:
            raise DataError(
                f"{self}, all with the label {labels.pop()!r}. A model learns by telling labels apart: "
                "review pictures of another label, too"
            )

    def __str__(self) -> str:
        n_reviewed = len(self.labels) + self.n_none + len(self.copies) + len(self.missing)
        left_out = [
            (self.n_none, "none of the labels"),
            (len(self.copies), f"copies of others ({_listed(self.copies)})"),
            (len(self.missing), f"without an original on the server ({_listed(self.missing)})"),
        ]
        said = "; ".join(f"{n:,} {what}" for n, what in left_out if n)
        n = f"{len(self.labels):,} to learn from"
        differ = f"; reviewers differ about {self.n_contested:,}: the later word counts"
        contested = differ if self.n_contested else ""
        return f"{self.address}: {n_reviewed:,} reviewed, {n}{contested}" + (said and f"; left out: {said}")


def _label_set(client: Client, address: Address) -> LabelSet:
    there = {one.name: one for one in client.label_sets(address.collection)}
    if address.label_set not in there:
        known = f"it has: {', '.join(sorted(there))}" if there else "it has none yet (diptych labels put)"
        raise DataError(f"{address.collection} has no label set named {address.label_set!r}; {known}")
    return there[address.label_set]


def _records(client: Client, found: _Found) -> dict[str, ImageRecord]:
    """The images whose original the server has, the first of equal ones. Leaves out all others."""
    records: dict[str, ImageRecord] = {}
    known = set[str]()
    ids = list(found.labels)
    for start in range(0, len(ids), AT_ONCE):
        there = client.find_images(found.address.collection, ids[start : start + AT_ONCE])
        for id in ids[start : start + AT_ONCE]:
            record = there.get(id)
            if record is None or not record.kept or record.media_type not in ENDINGS:
                found.leave_out(id, found.missing)
            elif record.sha256 in known:
                found.leave_out(id, found.copies)
            else:
                known.add(record.sha256)
                records[id] = record
    return records


def _texts(labels: Sequence[str], words: dict[str, tuple[str, ...]]) -> Texts:
    """The labels of a picture with their words, each text once."""
    return Texts(tuple(dict.fromkeys(text for label in labels for text in words.get(label, (label,)))))


def _listed(ids: Sequence[str]) -> str:
    shown = first_examples(ids)
    more = len(ids) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
