"""Which precisions are published: on small graphs, with makers that do as the test wants."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import read_golden
from diptych.bundle.manifest import ManifestDraft, Precision, read_manifest
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych.errors import GoldenMismatch, InvalidValue
from diptych_training.errors import ExportError, ParityFailed
from diptych_training.export import precisions
from diptych_training.export.precisions import ExportContext, ExportResult, make_precisions, parse_precisions
from diptych_training.export.proof.calibration import Calibration
from diptych_training.export.proof.parity import EncodeFunctions, ParitySample, embed
from diptych_training.export.proof.prove import Proof
from diptych_training.stages import ProgressReporter, Stages
from support.tiny_bundle import write_tiny_bundle

N_IMAGES, N_TEXTS = 1000, 100


@dataclass(frozen=True)
class Report:
    """What a maker of graphs says."""

    kept_float: tuple[str, ...] = ("head",)
    cosine: float = 1.0


def faithful(source: Path, target: Path, *_: object, **__: object) -> Report:
    shutil.copyfile(source, target)
    return Report()


def unfaithful(source: Path, target: Path, *_: object, **__: object) -> Report:
    """The same graph with noise on its weights."""
    model = onnx.load(source)
    for initializer in model.graph.initializer:
        values = onnx.numpy_helper.to_array(initializer)
        if values.ndim == 2:
            noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
            initializer.CopyFrom(onnx.numpy_helper.from_array(values + noise, initializer.name))
    onnx.save(model, target)
    Path(f"{target}.data").write_bytes(b"weights beside it")
    return Report()


def unable(source: Path, target: Path, *_: object, **__: object) -> Report:
    raise ExportError("no layer can be int8")


@pytest.fixture
def context(tmp_path: Path) -> ExportContext:
    """The graphs of the tiny bundle, with a proof by themselves."""
    write_tiny_bundle(tmp_path)
    bundle = tmp_path / "tiny" / "1"
    manifest = read_manifest(bundle)
    stated = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}

    def make_draft(made: dict[str, Precision]) -> ManifestDraft:
        return ManifestDraft(**{**stated, "precisions": made})

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (N_IMAGES, 32, 32, 3), dtype=np.uint8)
    tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.text)
    rows = [tokenizer.ids(f"red {index} blue")[0] for index in range(N_TEXTS)]
    sample = ParitySample(pixels, rows, np.eye(N_IMAGES, N_TEXTS, dtype=bool))
    encoder = OnnxEncoder(bundle / "image_encoder.onnx", bundle / "text_encoder.onnx")

    def padded(part: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        return pad(part, manifest.text)

    encode = EncodeFunctions(encoder.encode_image, encoder.encode_text)
    proof = Proof(
        embed(encode, sample, padded, quiet), sample, manifest.text, read_golden(bundle / "golden.npz")
    )
    calibration = Calibration([pixels[:8], pixels[8:16]], [padded(rows[:8]), padded(rows[8:16])])
    return ExportContext(bundle, proof, make_draft, lambda: calibration, optimise=False)


def quiet(_: object) -> None:
    """Nobody watches."""


def make(context: ExportContext, asked: Sequence[str], said: list[str] | None = None) -> ExportResult:
    reporter = ProgressReporter(report=quiet if said is None else said.append, advance=quiet)
    return make_precisions(context, asked, reporter, Stages(ProgressReporter(quiet, quiet)))


def use(monkeypatch: pytest.MonkeyPatch, **makers: Callable[..., object]) -> None:
    for name, maker in makers.items():
        monkeypatch.setattr(precisions, name, maker)


def test_every_precision_inside_its_bound_is_published(
    context: ExportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, write_int8=faithful, write_fp16=faithful)

    made = make(context, ("fp32", "int8", "fp16"))

    assert list(made.published) == list(made.measured) == ["fp32", "int8", "fp16"]
    assert made.published["int8"].image_file == "image_encoder.int8.onnx"
    assert made.reports["int8"] == {
        tower: {"kept_float": ["head"], "cosine": 1.0} for tower in ("image", "text")
    }


def test_a_precision_outside_its_bound_is_left_out_with_its_files_and_the_others_stay(
    context: ExportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, write_int8=unfaithful, write_fp16=faithful)
    said: list[str] = []

    made = make(context, ("fp32", "int8", "fp16"), said)

    assert list(made.published) == ["fp32", "fp16"]
    assert "int8" in made.measured  # the table shows by how much
    assert any(line.startswith("int8 is NOT published: int8 does not match") for line in said)
    assert not list(context.folder.glob("*int8*"))
    assert "int8" not in made.reports
    assert "| parity " in said[-1]


def test_a_precision_that_cannot_be_made_is_left_out(
    context: ExportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, write_int8=unable)
    said: list[str] = []

    made = make(context, ("fp32", "int8"), said)

    assert list(made.published) == ["fp32"]
    assert "int8 is NOT published: no layer can be int8" in said


def test_graphs_that_a_server_would_refuse_on_the_golden_items_stop_everything(
    context: ExportContext,
) -> None:
    golden = context.proof.golden
    wrong = replace(golden, image_embedding=-golden.image_embedding)

    with pytest.raises(GoldenMismatch, match=r"golden image .* bound is 0.99999"):
        make(replace(context, proof=replace(context.proof, golden=wrong)), ("fp32",))


def test_an_ungated_workshop_keeps_what_is_outside_its_bound(
    context: ExportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, write_int8=unfaithful)

    assert "int8" in make(replace(context, ungated=True), ("fp32", "int8")).published


def test_graphs_that_do_not_follow_the_model_stop_everything(context: ExportContext) -> None:
    embedded = context.proof.embedded
    turned = replace(embedded, images=embedded.images[::-1])
    said: list[str] = []

    with pytest.raises(ParityFailed, match="fp32 does not match"):
        make(replace(context, proof=replace(context.proof, embedded=turned)), ("fp32", "int8"), said)
    assert "| parity " in said[-1]  # the table is shown all the same


def test_precision_without_graphs_is_refused_with_the_graphs_that_are_served_in_it() -> None:
    with pytest.raises(InvalidValue, match="bf16 needs no graphs of its own: those of fp32 are served in it"):
        parse_precisions("fp32,bf16")
    with pytest.raises(InvalidValue, match=r"'fp8' is not one of fp32, fp16, int8$"):
        parse_precisions("fp8")
