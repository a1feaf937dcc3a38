"""The model that comes with the sources: its name, the repository that has it, and its newest bundle."""

from pathlib import Path

from diptych.bundle.repository import SHIPPED_NAME, ModelRepository

DEFAULT_MODEL = SHIPPED_NAME
MODEL_REPO = Path(__file__).parents[2] / "model_repo"


def default_bundle() -> Path:
    """The folder of its newest version."""
    repository = ModelRepository(MODEL_REPO)
    return repository.folder(DEFAULT_MODEL, repository.latest(DEFAULT_MODEL))
