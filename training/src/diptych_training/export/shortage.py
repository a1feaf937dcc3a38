"""Whether a data set has enough held-out images and texts to prove a model on; reads no image."""

from diptych.bundle.parity import MIN_IMAGES, MIN_TEXTS
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TooFewSamples
from diptych_training.export.samples import N_PARITY_IMAGES, count_sample


def shortage(dataset: PackedDataset) -> str | None:
    """Why nothing can be proven on this data set, and what to do; None if it has enough."""
    n_images, n_texts = count_sample(dataset, N_PARITY_IMAGES)
    if n_images >= MIN_IMAGES and n_texts >= MIN_TEXTS:
        return None
    return (
        f"{dataset.path} has too few samples to prove an export on: {n_images:,} held-out images with "
        f"{n_texts:,} texts, at least {MIN_IMAGES:,} and {MIN_TEXTS} are needed. Pack more with `data pack "
        "--validation` or `--eval`, or prove the export on another data set with `export --data DIR` "
        "(`data pictograms` builds one). `export --ungated` publishes without a sufficient proof; servers "
        "skip such a version unless started with --allow-ungated"
    )


def require_enough(dataset: PackedDataset) -> None:
    """Raises TooFewSamples, before anything is written or embedded."""
    reason = shortage(dataset)
    if reason is not None:
        raise TooFewSamples(reason)
