"""Label sets and verdicts: values that use cases and stores share, and what they must be like."""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from diptych.core.classification.classify import DEFAULT_TEMPLATES
from diptych.core.classification.label_checks import MAX_LABEL_CHARS, check_templates
from diptych.errors import InvalidValue, NotFound, TooLarge

Kind = Literal["one", "many"]
MAX_TEXTS = 10_000  # labels and words of a set, as labels of one classification
MAX_SETS = 100  # of one collection
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONTROLS = {"Cc", "Zl", "Zp"}  # categories of Unicode: control characters, and ends of lines
LIKELY = 0.5  # the least score of a label of an image that may have many, unless the set says another


@dataclass(frozen=True)
class Label:
    """A label, and further words for the same thing."""

    label: str
    words: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is encoded of it."""
        return (self.label, *self.words)


@dataclass(frozen=True)
class Definition:
    """What a person wrote: C labels, of which an image has one or many.

    An image has no label that scores below `min_score`, or below the score at which the share `precision` of
    the labels is right. `templates` are those of a classification.
    """

    labels: tuple[Label, ...]
    kind: Kind = "one"
    templates: tuple[str, ...] | str = DEFAULT_TEMPLATES
    min_score: float | None = None
    precision: float | None = None

    @property
    def names(self) -> list[str]:
        """The labels without their words."""
        return [one.label for one in self.labels]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each label is in the list."""
        return {one.label: i for i, one in enumerate(self.labels)}

    @property
    def texts(self) -> list[str]:
        """All labels and words, each once."""
        return list(dict.fromkeys(text for one in self.labels for text in one.texts))

    @property
    def threshold(self) -> float:
        """The least score that gives an image a label, unless it is fitted to the precision."""
        least = LIKELY if self.kind == "many" else 0.0
        return least if self.min_score is None else self.min_score

    def check(self) -> None:
        """Raise InvalidValue or TooLarge, naming the label or template, unless the definition is usable."""
        if self.min_score is not None and self.precision is not None:
            raise InvalidValue("must not be there with min_score, which it replaces", "precision")
        if not self.labels:
            raise InvalidValue("at least one label is needed", "labels")
        n_texts = sum(len(one.texts) for one in self.labels)
        if n_texts > MAX_TEXTS:
            raise TooLarge(f"{n_texts} labels and words, the limit is {MAX_TEXTS}", "labels")
        seen: dict[str, tuple[str, str]] = {}
        for i, one in enumerate(self.labels):
            _check_text(one.label, f"labels[{i}]", seen)
        for i, one in enumerate(self.labels):
            for j, word in enumerate(one.words):
                _check_text(word, f"labels[{i}].words[{j}]", seen)
        if not isinstance(self.templates, str):
            check_templates(self.templates)

    def check_labels(self, labels: Sequence[str], item: str) -> None:
        """Raise InvalidValue, naming `item`, unless an image may have these labels."""
        for label in labels:
            if label not in self.positions:
                raise InvalidValue(f"the label set has no label {label[:100]!r}", item)
        if len(set(labels)) < len(labels):
            raise InvalidValue("a label is there twice", item)
        if self.kind == "one" and len(labels) > 1:
            raise InvalidValue(f"{len(labels)} labels, an image has one label of this set", item)

    def allows(self, labels: Sequence[str]) -> bool:
        """Whether an image may have these labels."""
        try:
            self.check_labels(labels, "")
        except InvalidValue:
            return False
        return True

    def to_json(self) -> str:
        """The text that a store keeps."""
        fields = {
            "labels": [[one.label, *one.words] for one in self.labels],
            "kind": self.kind,
            "templates": self.templates,
            "min_score": self.min_score,
            "precision": self.precision,
        }
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Definition":
        """The reverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        templates = fields["templates"]
        return cls(
            labels=tuple(Label(label, tuple(words)) for label, *words in fields["labels"]),
            kind=fields["kind"],
            templates=templates if isinstance(templates, str) else tuple(templates),
            min_score=fields["min_score"],
            precision=fields.get("precision"),
        )


@dataclass(frozen=True)
class LabelSet:
    """A stored definition. `number`: no other set ever has it. `revision`: raised by each change."""

    number: int
    name: str
    definition: Definition
    revision: int
    changed_at: str


@dataclass(frozen=True)
class Statement:
    """What a person said of a picture: its labels, of which it may have none. `by`: the name of the key.

    `former`: the statement of another key that stood before, which may have a `former` of its own.
    """

    labels: tuple[str, ...]
    by: str
    at: str
    former: "Statement | None" = field(default=None, kw_only=True)

    @property
    def disputed(self) -> "Statement | None":
        """The former statement if it has other labels."""
        return None if self.former is None or _is_same(self.former, self) else self.former


@dataclass(frozen=True)
class Verdict(Statement):
    """The statement on a picture that stands.

    `sha256`: of the picture's bytes. `is_drawn`: it was proposed at random.
    """

    sha256: str
    is_drawn: bool

    def in_place_of(self, standing: "Verdict | None") -> "Verdict":
        """What stands once this was said: this, with the statement of another key that stood before.

        That one is kept until another key says something, with its own former one: what stood before can be
        restored, with its dispute. The same key may only repeat a request whose answer was lost. A key that
        says again what it has changed lets the former statement stand.
        """
        if standing is None:
            return self
        if standing.by != self.by:
            earlier = standing.former and replace(standing.former, former=None)
            return replace(self, former=Statement(standing.labels, standing.by, standing.at, former=earlier))
        if standing.disputed is not None and _is_same(standing.disputed, self):
            return self._restored(standing.disputed)
        return replace(self, former=standing.former)

    def withdrawn(self) -> "Verdict | None":
        """What stands once this was withdrawn: the former statement, as it stood."""
        return None if self.former is None else self._restored(self.former)

    def within(self, definition: Definition) -> "Verdict | None":
        """What is left of it and the former statements: those that a definition allows."""
        left: Statement | None = None
        for one in reversed(list(_chain(self))):
            if definition.allows(one.labels):
                is_of_same_key = left is not None and left.by == one.by
                former = left.former if left is not None and is_of_same_key else left
                left = Statement(one.labels, one.by, one.at, former=former)
        return None if left is None else self._restored(left)

    def _restored(self, statement: Statement) -> "Verdict":
        return replace(self, **vars(statement))


def _chain(statement: Statement) -> Iterator[Statement]:
    """A statement and the former ones, the newest first."""
    yield statement
    if statement.former is not None:
        yield from _chain(statement.former)


def _is_same(one: Statement, other: Statement) -> bool:
    return set(one.labels) == set(other.labels)


@dataclass(frozen=True)
class NewVerdict:
    """The labels that an image has by a person's word.

    `is_drawn`: it was proposed at random. `sha256`: of the bytes that the person saw, if it is known.
    """

    id: str
    labels: tuple[str, ...]
    is_drawn: bool = False
    sha256: str | None = None


@dataclass(frozen=True)
class GivenVerdict:
    """A stored verdict of an image, and the one that it replaces."""

    id: str
    labels: tuple[str, ...]
    before: Verdict | None


def check_name(name: str) -> str:
    """Return the name of a label set, or raise InvalidValue. The rules are those of collections."""
    if not NAME.fullmatch(name):
        raise InvalidValue(
            f"label set name {name[:80]!r} must be 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit"
        )
    return name


def set_not_found(name: str) -> NotFound:
    """The error for a name that no label set of the collection has."""
    return NotFound(f"no label set named {name[:80]!r}")


def _check_text(text: str, item: str, seen: dict[str, tuple[str, str]]) -> None:
    """Raise InvalidValue unless a label or word is usable and unlike those that were `seen` before it.

    Two are alike that look the same, or differ in case or in spaces around them only.
    """
    if not text.strip():
        raise InvalidValue("must not be empty", item)
    if len(text) > MAX_LABEL_CHARS:
        raise InvalidValue(f"{len(text)} characters, the limit is {MAX_LABEL_CHARS}", item)
    for char in text:
        if unicodedata.category(char) in _CONTROLS:
            raise InvalidValue(f"{text[:100]!r} has the control character {char!r}: leave it out", item)
    other, where = seen.setdefault(_folded(text), (text, item))
    if where != item:
        same = "the same as" if other == text else f"hardly another text than {other[:100]!r} of"
        raise InvalidValue(f"{text[:100]!r} is {same} {where}: leave one out", item)


def _folded(text: str) -> str:
    """What labels and words are compared by: neither case, composition nor spaces around them count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().casefold())
