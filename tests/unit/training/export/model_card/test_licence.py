"""Which licence the weights of a run have where nobody says one: only what their sources record."""

from dataclasses import replace
from pathlib import Path

import pytest

from diptych.bundle.manifest import Precision
from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.config import read_config
from diptych_training.data.packed import PackedDataset, read_dataset, write_index
from diptych_training.export.manifest import ExportOptions, make_draft
from diptych_training.export.model_card.card import model_card
from diptych_training.export.model_card.licence import Licence, recorded_licence
from diptych_training.provenance import Provenance, collect_provenance
from support.tiny_run import write_tiny_dataset, write_tiny_run

FP32 = {"fp32": Precision(image_file="image_encoder.onnx", text_file="text_encoder.onnx", parity=None)}


def dataset(path: Path, licence: str) -> PackedDataset:
    """Named as its folder; all of its sources have this licence."""
    made = write_tiny_dataset(path, n_icons=3)
    entries = {name: replace(entry, licence=licence) for name, entry in made.entries.items()}
    write_index(replace(made, name=path.name, entries=entries))
    return read_dataset(path)


def learned(
    home: Path, own: str, *overrides: str, old: str | None = None, start: str | None = None
) -> Provenance:
    """What a run learns from whose own, rehearsed and first sources have these licences."""
    if not (home / "run").exists():
        write_tiny_run(home / "run")
    rehearsal = []
    if old is not None:
        dataset(home / "old", old)
        rehearsal = [f"data.rehearsal.past.data={home / 'old'}"]
    config = read_config(home / "run" / "config.toml", ["run.batch_size=8", *rehearsal, *overrides])
    return collect_provenance(dataset(home / "new", own), config, {} if start is None else {"begin/1": start})


def run_of(home: Path, made: Provenance) -> TrainedRun:
    return replace(load_run(home / "run"), provenance=made)


@pytest.mark.parametrize(
    ("own", "old", "start", "name", "reason"),
    [
        ("MIT", None, None, "MIT", "the licence of all training data"),
        ("GPL-3.0-only", "GPL-3.0-only", None, "GPL-3.0-only", "the licence of all training data"),
        ("MIT", "Apache-2.0", None, "Apache-2.0", "the strictest licence of the training data"),
        ("MIT", None, "cc-by-sa-4.0", "CC-BY-SA-4.0", "the strictest licence of the training data"),
        ("unknown", None, "MIT", "unknown", "none is recorded for `new/train-set`"),
        ("MIT", "unknown", None, "unknown", "none is recorded for `old/train-set`"),
        ("MIT", None, "unknown", "unknown", "none is recorded for `begin/1`"),
        (
            "CC-BY-NC-4.0",
            "MIT",
            None,
            "unknown",
            "the training data has CC-BY-NC-4.0, MIT, and it is unknown",
        ),
    ],
)
def test_a_licence_is_what_own_rehearsed_and_first_sources_record(tmp_path, own, old, start, name, reason):
    found = recorded_licence(learned(tmp_path, own, old=old, start=start))
    assert found.name == name
    assert reason in found.reason


def test_pairs_record_no_licence_unless_they_are_packed(tmp_path):
    pairs = f"data.pairs.train=['s-{{0..9}}.tar', '{tmp_path}/packed']"
    dataset(tmp_path / "packed", "CC0-1.0")
    found = recorded_licence(learned(tmp_path, "MIT", pairs))
    assert found == Licence("unknown", "none is recorded for `s-{0..9}.tar`")
    packed = f"data.pairs.train='{tmp_path}/packed'"
    assert recorded_licence(learned(tmp_path, "MIT", packed)).name == "CC0-1.0"


def test_a_run_that_does_not_say_what_it_learned_from_has_an_unknown_licence(tmp_path):
    assert recorded_licence(load_run(write_tiny_run(tmp_path / "run")).provenance).name == "unknown"


def test_card_and_manifest_state_the_recorded_licence_unless_a_person_says_one(tmp_path):
    run, proof = run_of(tmp_path, learned(tmp_path, "ISC", old="MIT")), dataset(tmp_path / "proof", "CC0-1.0")
    for said, name, sentence in (
        (None, "MIT", "under MIT: the strictest licence of the training data. "),
        ("WTFPL", "WTFPL", "under WTFPL. "),
    ):
        statement = ExportOptions("m", licence=said, ungated=True)
        licence = statement.licence_of(run)
        card = model_card("m", run, proof, {}, None, checkpoint="best", licence=licence, ungated=False)
        assert make_draft(run, proof, statement, FP32).licence == name
        assert sentence in card
