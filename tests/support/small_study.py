"""A plan of every part of a study, over runs of three steps.

plan = write_plan(tmp_path, ("names = 4", "names = 5"), seeds="[0, 1]")
"""

from pathlib import Path

from diptych_training.config import dump_config, read_config
from support.tiny_run import write_tiny_run

PLAN = """
name = "tiny-study"

[efficiency]
recipe = "small.toml"
horizons = [1, 3]
names = 4
pictures = 5
seeds = SEEDS
variants = [
  { name = "clip", title = "CLIP" },
  { name = "bag-of-words", title = "bag of words", set = ["objective.kind=bag_of_words"] },
  { name = "virtex", title = "captioning", set = ["objective.kind=virtex", "objective.width=8"] },
]

[labels]
recipe = "small.toml"
variants = [
  { name = "clip", title = "CLIP" },
  { name = "static-softmax", title = "softmax", set = SOFTMAX },
]

[scaling]
recipe = "small.toml"
names = 4
variants = [
  { name = "clip", title = "narrow" },
  { name = "wide", title = "wide", set = ["model.image.width=32"] },
  { name = "wider", title = "wider", set = ["model.image.width=48"] },
  { name = "widest", title = "widest", set = ["model.image.width=64"] },
]
"""


def write_plan(folder: Path, *changes: tuple[str, str], seeds: str = "[0]") -> Path:
    """Write a plan and its recipe; each change replaces a text of either."""
    if not (folder / "model").exists():
        tiny = write_tiny_run(folder / "model") / "config.toml"
        given = ["run.steps=3", "run.batch_size=4", "run.precision=fp32", "data.mixture={icons = 1.0}"]
        (folder / "base.toml").write_text(dump_config(read_config(tiny, given)))
    recipe = (folder / "base.toml").read_text()
    softmax = '["objective.kind=static_softmax", "objective.n_labels=6"]'
    plan = PLAN.replace("SEEDS", seeds).replace("SOFTMAX", softmax)
    for before, after in changes:
        assert before in plan or before in recipe, before
        plan, recipe = plan.replace(before, after), recipe.replace(before, after)
    (folder / "small.toml").write_text(recipe)
    (folder / "plan.toml").write_text(plan)
    return folder / "plan.toml"
