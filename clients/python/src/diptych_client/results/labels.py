"""Label sets, the labels of images, and what people say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diptych_client.results.common import ModelRef


@dataclass(frozen=True)
class Label:
    """A label, and further words for the same thing."""

    label: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """A label set. `revision` is raised by each change; `changed_at` is ISO 8601 in UTC."""

    name: str
    labels: tuple[Label, ...]
    kind: Literal["one", "many"]
    templates: tuple[str, ...] | str
    min_score: float | None
    precision: float | None
    revision: int
    changed_at: str


@dataclass(frozen=True)
class AlikeLabels:
    """Two labels that the text encoder hardly separates, with the cosine of their embeddings."""

    labels: tuple[str, ...]
    cosine: float


@dataclass(frozen=True)
class PutLabelSet(LabelSet):
    """A label set that was created or changed.

    `n_dropped`: verdicts that it does not allow, deleted: one a picture, also of those that are gone.
    """

    alike: tuple[AlikeLabels, ...] = ()
    n_dropped: int = 0


@dataclass(frozen=True)
class LabelCount:
    """How many images have a label."""

    label: str
    n: int


@dataclass(frozen=True)
class LabelAgreement:
    """The images to which people gave a label, and to how many of them the model gives it.

    `interval`: of their share, 95%.
    """

    label: str
    n: int
    n_agree: int
    interval: tuple[float, ...] | None


@dataclass(frozen=True)
class LabelConfusion:
    """Images to which people gave `label` and the model `proposed`; None: no label, or none in its place."""

    label: str | None
    proposed: str | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """How far the model agrees with people, on the pictures that were reviewed.

    Images with the same bytes are one picture. `n_unlabelled`: more pictures, to which people gave a label
    and the model none, so that it is neither right nor wrong.
    """

    n: int
    n_agree: int
    interval: tuple[float, ...] | None
    n_unlabelled: int
    labels: tuple[LabelAgreement, ...]
    confusions: tuple[LabelConfusion, ...]


@dataclass(frozen=True)
class Accuracy:
    """How often the model is right, by the pictures alone that were drawn at random for review.

    `labels`: of those that people gave to at least 10 of these pictures. `n_unlabelled`: as of `Agreement`.
    """

    n: int
    n_agree: int
    interval: tuple[float, ...] | None
    n_unlabelled: int
    labels: tuple[LabelAgreement, ...]


@dataclass(frozen=True)
class LabelThreshold:
    """The least score of a label of an image.

    `fitted_on`: drawn pictures to which it was fitted, 0 if it was not. `precision`: the share of the labels
    of these pictures that is right; `interval`: 95% of that share. Where pictures were fitted to and
    `precision` is None, no score reaches what is wanted, and no image has a label.
    """

    min_score: float
    fitted_on: int
    precision: float | None
    interval: tuple[float, ...] | None


@dataclass(frozen=True)
class LabelSetReport(LabelSet):
    """A label set, and the number of images of each label: of those with a vector of `model` or a verdict.

    `n_lapsed`: verdicts on pictures that no image has now; they count again when the picture comes back.
    `n_contested`: images whose label somebody has changed that another key gave.
    """

    model: ModelRef
    n_images: int
    n_reviewed: int
    n_lapsed: int
    n_contested: int
    counts: tuple[LabelCount, ...]
    n_without_label: int
    agreement: Agreement
    accuracy: Accuracy
    threshold: LabelThreshold


@dataclass(frozen=True)
class Statement:
    """What a person said of a picture. `by`: the name of the API key; `at`: ISO 8601 in UTC."""

    labels: tuple[str, ...]
    by: str
    at: str


@dataclass(frozen=True)
class Verdict(Statement):
    """The statement on a picture that stands. `drawn`: the picture was proposed at random.

    `before`: the statement of another key that it has changed, until another key says something; of a verdict
    that was withdrawn, the one that stands again.
    """

    drawn: bool
    before: Statement | None


@dataclass(frozen=True)
class GivenVerdict:
    """A verdict that was stored. `before`: the one that it replaces."""

    id: str
    labels: tuple[str, ...]
    before: Verdict | None


@dataclass(frozen=True)
class GivenVerdicts:
    """Stored verdicts, in order. `unknown`: ids that no image of the collection has.

    `replaced`: ids of images that have other bytes than those that were judged, so that nothing was stored.
    """

    verdicts: tuple[GivenVerdict, ...]
    unknown: tuple[str, ...]
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class LabelledImage:
    """The labels of an image, best first: a person's word, or else what the model proposes.

    `score`: of the best label by the model, whether proposed or not. `margin`: how near the image is to
    another answer of the model.
    """

    id: str
    labels: tuple[str, ...]
    by: Literal["model", "person"]
    proposed: tuple[str, ...]
    score: float
    margin: float
    verdict: Verdict | None


@dataclass(frozen=True)
class LabelledImagePage:
    """One page of images with their labels. `next` is the `after` of the following page; None on the last."""

    model: ModelRef
    images: tuple[LabelledImage, ...]
    next: str | None
    total: int


@dataclass(frozen=True)
class LabelProposal(LabelledImage):
    """An image to review. `sha256`: of its bytes. `drawn`: it was drawn at random.

    `none`: a hint that perhaps none of the labels fits.
    """

    sha256: str
    drawn: bool
    none: bool


@dataclass(frozen=True)
class LabelProposals:
    """Images to review next, in order. `revision` of the label set and `model` made the labels."""

    model: ModelRef
    revision: int
    images: tuple[LabelProposal, ...]
    n_unreviewed: int
