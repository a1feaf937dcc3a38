"""A small recipe that trains on streams of pairs, with its data."""

from pathlib import Path

from diptych_training.cli import main
from diptych_training.config import dump_config, read_config
from support.pair_files import write_tars
from support.tiny_run import write_tiny_run


def write_pairs_run(home: Path, *overrides: str) -> Path:
    """Write `small.toml` into `home`, three shards that it trains on, and `data` with validation pairs."""
    pattern = write_tars(home / "s", 3, 9)
    main(["data", "pack", "--validation", pattern, "--out", str(home / "data"), "--size", "32"])
    tiny = write_tiny_run(home / "tiny") / "config.toml"
    config = read_config(tiny, [f"data.pairs.train='{pattern}'", *overrides])
    (home / "small.toml").write_text(dump_config(config))
    return home
