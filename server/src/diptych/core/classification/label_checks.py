"""Limits and rules for labels and templates."""

from collections.abc import Sequence
from dataclasses import dataclass

from diptych.errors import InvalidValue

PLACE = "{}"  # where a template takes the label
# Longer than any model reads; longer labels would only use memory, once for every template.
MAX_LABEL_CHARS = 1_000
MAX_TEMPLATE_CHARS = 1_000


def check_labels(labels: Sequence[str]) -> None:
    """Raise InvalidValue unless there is at least one label, and none is empty, too long or repeated."""
    if not labels:
        raise InvalidValue("at least one label is needed", "labels")
    seen: dict[str, int] = {}
    for index, label in enumerate(labels):
        if not label.strip():
            raise InvalidValue("a label must not be empty", f"labels[{index}]")
        if len(label) > MAX_LABEL_CHARS:
            raise InvalidValue(
                f"a label of {len(label)} characters, the limit is {MAX_LABEL_CHARS}", f"labels[{index}]"
            )
        if label in seen:
            raise InvalidValue(f"{label[:100]!r} is labels[{seen[label]}] too", f"labels[{index}]")
        seen[label] = index


@dataclass(frozen=True)
class InputWarning:
    """A warning about a probable mistake in a request that was answered, and the item that has it."""

    item: str
    detail: str


def warnings_of_labels(labels: Sequence[str]) -> list[InputWarning]:
    """Warn of a single label with commas, which is probably meant as several. Labels are never split."""
    if len(labels) != 1 or "," not in labels[0]:
        return []
    detail = f"{labels[0][:100]!r} is one label, commas do not separate labels: give each label by itself"
    return [InputWarning("labels[0]", detail)]


def check_templates(templates: Sequence[str]) -> None:
    """Raise InvalidValue unless there is at least one template, none too long, each with one place."""
    if not templates:
        raise InvalidValue("at least one template is needed", "templates")
    for index, template in enumerate(templates):
        if len(template) > MAX_TEMPLATE_CHARS:
            raise InvalidValue(
                f"a template of {len(template)} characters, the limit is {MAX_TEMPLATE_CHARS}",
                f"templates[{index}]",
            )
        if template.count(PLACE) != 1:
            raise InvalidValue(
                f"{template[:100]!r} must have exactly one {PLACE} for the label",
                f"templates[{index}]",
            )
