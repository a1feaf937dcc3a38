"""Choose a recipe by the amount of data, and write it as a file that a person can read and edit."""

import math
from dataclasses import dataclass
from pathlib import Path
from string import Template

from diptych.bundle.manifest import Manifest
from diptych_training.data.packed import INDEX_FILE, PackedDataset, read_dataset
from diptych_training.errors import DataError
from diptych_training.files import write_text
from diptych_training.objectives.contrastive import LossKind
from diptych_training.refresh.evaluation.results import MIN_OWN_PAIRS

OWN_SHARE = 0.5  # of a batch
# Pictures of the user's that all batches show: some however few there are, and each a number of times more.
# The cost of a refresh is in proportion to them. Eight models are trained where there are folds. From
# MIN_OWN_PAIRS on there is one, which may cost as much as they do.
IN_FOLDS, N_MODELS = (1_800, 3), 8
HELD_OUT = (N_MODELS * IN_FOLDS[0], 4)
# The batch grows with the fourth root of the pairs, from so many pictures of the user's for so many pairs.
MIN_OWN, FROM_PAIRS, GROWTH, OWN_MULTIPLE = 16, 32, 1 / 4, 2
EMA_STEPS = 0.15  # share of the run over which weights are averaged
TEMPLATE = Template("""\
# How "$name" is trained: $start, on $n_train pairs of yours. `diptych-train refresh` wrote this file and
# does not overwrite it: edit it (--look stops before the training) and repeat the command.
name = "$name"
start = "$start"
seed = $seed            # of the order and the random changes: each further refresh of this name has its own

[lock]$lock_towers
scale = true        # a few pictures are too few for a new scale, or new statistics of batch normalisation
statistics = true
$lora
[data.captions]     # which text of a pair is shown
label = 0.5         # the first
label_keywords = 0.1
caption = 0.4       # one of the others

[data.rehearsal.old]
# $about_old
data = $old
share = $old_share        # of every batch
$distill
[augment]
affine_probability = 0.5
scale = [0.85, 1.1]
translate = 0.05
rotate_deg = 5.0
grayscale_probability = 0.1

[optim]
$optim
weight_decay = 0.05

[run]
steps = $steps      # each of your pairs is shown about $n_shown times
batch_size = $batch_size
ema_decay = $ema_decay
checkpoint_every = $checkpoint_every
validate_every = $steps
best_by = []        # the last weights are used; how much of them is decided after the training
""")
# SigLIP's loss gives no probabilities over a batch, and so no such answers.
DISTILL = Template("""
[distill]
# On old pairs the answers of the old model count as much as the captions: they keep more of what it knows.
teachers = [$teacher]
weight = 0.5
on = "rehearsed"    # not on your pairs, which it does not know
""")


IN_FULL = """\
lr = 2e-4
layer_decay = 0.8   # a layer with n layers above it learns at lr * layer_decay^n: early ones change least"""


@dataclass(frozen=True)
class Learning:
    """What of a model learns: lines of the recipe."""

    lock_towers: str = ""
    lora: str = ""
    optim: str = IN_FULL


IN_FULL_ALL = Learning()
# A few pictures are too few for a tower that knows a thousand kinds of photographs.
DRAWINGS_AND_TEXTS = Learning(
    lock_towers="""
image = 1           # the photographs' tower and the gate keep what they know
cache = true        # what they make of the stored pictures is computed once"""
)
# A vision transformer is large, and mostly trained by others on more than the shipped pairs can rehearse.
ADAPTERS = Learning(
    lock_towers="""
image = "all"       # both towers learn by their adapters alone ([lora])
text = "all\"""",
    lora="""
[lora]              # Hu et al. 2021: merged into the weights that are judged and exported
rank = 8
alpha = 16
""",
    optim="lr = 1e-3           # of adapters; layers that learn in full need a fifth of it",
)
LEARNING = {"photographs_and_drawings": DRAWINGS_AND_TEXTS, "vit": ADAPTERS, "pooled_vit": ADAPTERS}


@dataclass(frozen=True)
class OldPairs:
    """The data set whose training pairs are rehearsed.

    `is_whole`: the old model learned from it. `why_not`: why the pairs shipped with the model stand in.
    """

    dataset: PackedDataset
    why_not: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the old model learned from this data set."""
        return not self.why_not

    @property
    def n(self) -> int:
        """The number of pairs to rehearse."""
        return sum(entry.n for _, entry in self.dataset.listed("train"))

    def __str__(self) -> str:
        if self.is_whole:
            return f"rehearses the data set of the old model: {self.dataset.path}, {self.n:,} pairs"
        return f"{self.why_not}: rehearses the {self.n:,} shipped pairs"


def old_pairs(at: Path, manifest: Manifest, shipped: PackedDataset) -> OldPairs:
    """The data set at `at` if the version was trained on it, at its image size; else the shipped pairs."""
    if not (at / INDEX_FILE).is_file():
        return OldPairs(shipped, f"no data set at {at}")
    try:
        found = read_dataset(at)
    except DataError as error:
        return OldPairs(shipped, str(error))
    title, size = f"{manifest.name}/{manifest.version}", manifest.image.size
    if found.name != manifest.source.get("dataset") or not found.listed("train"):
        return OldPairs(shipped, f"{title} was not trained on the data set at {at}")
    if found.image_size != size:
        return OldPairs(shipped, f"{title} sees {size} px, the data set at {at} has {found.image_size}")
    return OldPairs(found)


def write_recipe(
    file: Path,
    name: str,
    start: str,
    *,
    n_train: int,
    n_usable: int,
    old: OldPairs,
    seed: int = 0,
    loss: LossKind = "softmax",
    image_kind: str = "resnet",
) -> None:
    """Write the recipe of the run `name` for `n_train` pairs of the user's, of `n_usable`.

    `start` is NAME/VERSION of a model that was trained with `loss`; `image_kind`: the kind of its image
    tower.
    """
    n_own, steps = own_of_batch(n_train), steps_of(n_train, n_usable)
    learning = LEARNING.get(image_kind, IN_FULL_ALL)
    about = "the data set that the model was trained on" if old.is_whole else "pairs shipped with the model"
    recipe = TEMPLATE.substitute(
        name=name,
        start=start,
        seed=seed,
        lock_towers=learning.lock_towers,
        lora=learning.lora,
        optim=learning.optim,
        n_train=f"{n_train:,}",
        about_old=f"{about}: {old.n:,} pairs",
        old=_quoted(str(old.dataset.path)),
        old_share=1 - OWN_SHARE,
        distill=DISTILL.substitute(teacher=_quoted(start)) if loss == "softmax" else "",
        steps=steps,
        n_shown=round(steps * n_own / n_train),
        batch_size=round(n_own / OWN_SHARE),
        ema_decay=f"{1 - 1 / (EMA_STEPS * steps):.3f}",
        checkpoint_every=max(20, steps // 10),
    )
    write_text(file, recipe)


def steps_of(n_train: int, n_usable: int) -> int:
    """How many steps a model is trained for."""
    n_shown, n_shown_each = IN_FOLDS if n_usable < MIN_OWN_PAIRS else HELD_OUT
    return math.ceil((n_shown + n_shown_each * n_usable) / own_of_batch(n_train))


def own_of_batch(n_train: int) -> int:
    """How many of the user's pictures a batch shows."""
    grown: float = MIN_OWN * (n_train / FROM_PAIRS) ** GROWTH
    return max(MIN_OWN, OWN_MULTIPLE * round(grown / OWN_MULTIPLE))


def _quoted(text: str) -> str:
    """A TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
