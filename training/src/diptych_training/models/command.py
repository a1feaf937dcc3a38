"""`diptych-train models`: list the architectures that a recipe can name."""

import argparse

from diptych_training.models.config import ModelConfig
from diptych_training.models.count import meta_model, model_size
from diptych_training.models.named_architectures import architecture_names, read_architecture

TITLES = (
    "architecture",
    "image tower",
    "image px",
    "texts",
    "embed_dim",
    "parameters",
    "image",
    "text",
    "loss",
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command, which has no flags."""
    parser = subparsers.add_parser(
        "models",
        help="list the architectures that a recipe can name",
        description="Every architecture that `model` of a recipe can name, with its sizes.",
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print one row per architecture."""
    print(markdown(architecture_names()))
    return 0


def markdown(names: list[str]) -> str:
    """A Markdown table of the sizes of named architectures, in columns of equal width."""
    rows = [TITLES, *(_row(name) for name in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _row(name: str) -> tuple[str, ...]:
    table = read_architecture(name)
    config = ModelConfig.model_validate(table["model"])
    size = model_size(meta_model(config))
    return (
        name,
        config.image.kind,
        f"{config.image_size}",
        f"{config.text.context_length}",
        f"{config.embed_dim}",
        f"{size.n_all:,}",
        f"{size.n_image:,}",
        f"{size.n_text:,}",
        str(table["loss"]),
    )
