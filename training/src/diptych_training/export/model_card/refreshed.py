"""What a refresh gained and lost, for the manifest and the card of the version that it became."""

from pydantic import Field

from diptych_training.schema import Frozen


class Change(Frozen):
    """Zero-shot top-1 of the old and of the new model on `n_images` pictures, from 0 to 1."""

    n_images: int
    old_top1: float
    top1: float

    def sentence(self, pictures: str) -> str:
        """Both figures in words."""
        return (
            f"{100 * self.old_top1:.1f} before and {100 * self.top1:.1f} now on {self.n_images:,} {pictures}"
        )


class Refreshed(Frozen):
    """A refresh of the version `started_from` with `n_pairs` pairs, held-out ones included.

    `shipped` are the pairs that come with the model; `own` is None if no pair was held out. `id` is that of
    the refresh, `alpha` the weight of what was learned.
    """

    id: str
    alpha: float
    started_from: str = Field(serialization_alias="from")
    n_pairs: int
    shipped: Change
    own: Change | None = None

    def paragraph(self) -> str:
        """The figures for a model card."""
        found = [self.shipped.sentence("pictures that come with the model")]
        if self.own is not None:
            found = [self.own.sentence("pictures that were held out"), *found]
        return (
            f"It is a refresh of `{self.started_from}` with {self.n_pairs:,} pairs. "
            "Zero-shot top-1 in percent: "
            f"{'; '.join(found)}.\n"
        )
