"""The licence that a checkpoint's model card states; knows nothing of models."""

from pathlib import Path

from huggingface_hub import metadata_load

from diptych_training.importing.common.licence import agreed_licence

CARD_FILE = "README.md"


def licence_of(folder: Path, said: str | None) -> str:
    """`license` in the front matter of README.md, else what a person says, else `unknown`.

    Raises ImportFailed if both say one, and not the same.
    """
    return agreed_licence(_stated(folder / CARD_FILE), said, f"{folder.name}/{CARD_FILE}")


def _stated(card: Path) -> str | None:
    if not card.is_file():
        return None
    try:
        facts = metadata_load(card) or {}
    except Exception:  # a card is prose: one that is no proper YAML states nothing
        return None
    licence = facts.get("license")
    name = facts.get("license_name")
    if licence == "other" and isinstance(name, str):
        return name
    return licence if isinstance(licence, str) else None
