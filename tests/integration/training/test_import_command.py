"""`diptych-train import`, from a checkpoint to a bundle that the server's parts load."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.encoder import Embeddings
from diptych.bundle.golden import check_golden, read_golden
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.manifest import Manifest
from diptych.bundle.parity import broken_bounds
from diptych.bundle.prompts import prompt_set
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import DiptychError
from diptych_training.cli import INTERRUPTED, main
from diptych_training.evaluate.proof_set.photos import PhotoVariants, photographs
from diptych_training.export.optimise import FLOAT32, REWRITES
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.manifest import ImportOptions
from diptych_training.importing.own import OwnEncoder
from diptych_training.importing.publish import import_checkpoint
from diptych_training.importing.source import Source, find_source
from diptych_training.stages import ProgressReporter
from support.hugging_face_checkpoints import make_clip
from support.server import log_lines
from support.tiny_run import write_tiny_run

FEW = ("--ungated", "--proof-images", "20", "--no-optimise")


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `theirs/1`, a CLIP of transformers that was imported with the whole proof."""
    model_repo = tmp_path_factory.mktemp("model_repo")
    checkpoint = make_clip(tmp_path_factory.mktemp("checkpoints") / "clip")
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n# Some model\n")
    arguments = ["import", str(checkpoint), "--name", "theirs", "--model-repo", str(model_repo)]
    assert main([*arguments, "--matryoshka-dimensions", "8,4"]) == 0
    return model_repo


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


def bundle(model_repo: Path, name: str) -> tuple[Path, Manifest, TextTokenizer, OnnxEncoder]:
    repository = ModelRepository(model_repo)
    manifest, folder = repository.verify(name, 1), repository.folder(name, 1)
    files = manifest.precisions["fp32"]
    encoder = OnnxEncoder(folder / files.image_file, folder / files.text_file)
    return folder, manifest, TextTokenizer(folder / "tokenizer.json", manifest.text), encoder


def test_an_imported_checkpoint_is_a_bundle_with_its_proof(model_repo: Path) -> None:
    folder, manifest, tokenizer, encoder = bundle(model_repo, "theirs")
    parity = manifest.precisions["fp32"].parity

    assert parity is not None
    assert broken_bounds(parity, "fp32") == []
    assert parity.n_images >= 1000
    assert parity.n_texts >= 100
    report = check_golden(read_golden(folder / "golden.npz"), manifest, "fp32", tokenizer, encoder)
    assert min(report.image_cosine_min, report.text_cosine_min) >= 0.99999
    assert not manifest.ungated
    assert manifest.licence == "mit"
    assert manifest.source["library"] == "transformers"
    assert manifest.matryoshka_dimensions == (4, 8)
    assert [path.name for path in folder.iterdir() if "proof" in path.name] == ["proof_set.npz"]


def test_what_is_served_equals_the_library_on_images_and_texts_it_was_not_proven_on(
    model_repo: Path, tmp_path: Path
) -> None:
    _, manifest, tokenizer, encoder = bundle(model_repo, "theirs")
    kept = [step["name"] for step in manifest.extra["optimised"]["image"] if step["kept"]]
    assert kept == [*REWRITES, *FLOAT32]
    library = find_source(str(make_clip(tmp_path / "clip")), Choices()).load().library
    images = [PhotoVariants(photographs(), seed=77)[index] for index in range(12)]
    texts = ["red", "a house by the sea, in winter", "x " * 100]
    pixels = np.stack([preprocess(image, manifest.image, ImageLimits()) for image in images])

    assert cosines(encoder.encode_image(pixels), library.encode_images(images)) >= 0.99999
    assert cosines(encoder.encode_text(tokenizer(texts).input_ids), library.encode_texts(texts)) >= 0.99999


def cosines(a: Embeddings, b: Embeddings) -> float:
    return float((a * b).sum(axis=1).min())


@pytest.mark.long
def test_our_own_run_and_its_bundle_are_imported_with_weights_to_go_on_from(
    tmp_path: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = ["--model-repo", str(tmp_path / "repo")]
    stated = ["--licence", "MIT", "--matryoshka-dimensions", "4,8"]
    assert main(["import", str(tiny_run), "--name", "first", *repo, *FEW, *stated]) == 0
    out = capsys.readouterr().out
    assert "write image graph: " in out
    assert "peak memory" in out
    assert "| batch_cosine_min " in out
    assert "| texts left out" in out
    assert "| image_encoder.onnx " in out
    assert out.rstrip().endswith("first/1")

    first = tmp_path / "repo" / "first" / "1"
    assert main(["import", str(first), "--name", "second", *repo, *FEW, "--prompts", "photos"]) == 0
    folder, manifest, _, _ = bundle(tmp_path / "repo", "second")
    assert manifest.ungated
    assert manifest.licence == "MIT"
    assert manifest.source["bundle"] == "first/1"
    assert manifest.matryoshka_dimensions == (4, 8)
    assert manifest.text.prompts["default"] == list(prompt_set("photos"))
    assert manifest.text.prompts["drawing"] == ["a drawing of {}", "{} icon"]
    assert (folder / "weights.safetensors").read_bytes() == (first / "weights.safetensors").read_bytes()
    assert json.loads((folder / "model.json").read_text()) == json.loads((first / "model.json").read_text())


class Turned:
    """A library path that is not the model's: its images are turned first."""

    def __init__(self, honest: OwnEncoder) -> None:
        self._honest = honest

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        return self._honest.encode_images([image.transpose(Image.Transpose.ROTATE_90) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return self._honest.encode_texts(texts)

    def input_ids(self, text: str) -> list[int]:
        return self._honest.input_ids(text)


class OtherWords(Turned):
    """A library path that has another id for one word."""

    def input_ids(self, text: str) -> list[int]:
        return [7] if text == "dog" else super().input_ids(text)


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (Turned, "fp32 does not match .*: cosine_min is .*; n_images is 20, the bound is 1000"),
        (OtherWords, "tokenizer does not match its library: 'dog' becomes"),
    ],
)
def test_what_does_not_follow_its_library_is_not_published(
    library: Callable[[OwnEncoder], Turned],
    message: str,
    tmp_path: Path,
    tiny_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Source.load

    def load(source: Source) -> ImportedModel:
        imported = honest(source)
        return imported.__class__(**{**vars(imported), "library": library(imported.library)})

    monkeypatch.setattr(Source, "load", load)
    statement = ImportOptions("bad", ("fp32",), n_images=20, optimise=False)
    find = partial(find_source, str(tiny_run), Choices())

    with pytest.raises(DiptychError, match=message):
        import_checkpoint(find, ModelRepository(tmp_path / "repo"), statement, ProgressReporter(print, print))
    assert list((tmp_path / "repo").iterdir()) == []


def test_ctrl_c_that_a_library_swallows_ends_the_import_all_the_same(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = OwnEncoder.encode_images
    pressed: list[bool] = []

    def swallow(path: OwnEncoder, images: Sequence[Image.Image]) -> Embeddings:
        if not pressed:
            pressed.append(True)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait(5)  # a signal is handled between two steps of Python
            except KeyboardInterrupt:
                pass
        return honest(path, images)

    monkeypatch.setattr(OwnEncoder, "encode_images", swallow)
    arguments = ["import", str(tiny_run), "--name", "half", "--model-repo", str(tmp_path / "repo")]

    assert main([*arguments, *FEW]) == INTERRUPTED
    assert pressed
    assert list((tmp_path / "repo").iterdir()) == []


@pytest.mark.long
def test_one_command_imports_a_checkpoint_and_serves_it_until_ctrl_c(tmp_path: Path, tiny_run: Path) -> None:
    arguments = ["import", str(tiny_run), "--name", "mine", "--model-repo", str(tmp_path / "repo"), "--serve"]
    program = "import sys; from diptych_training.cli import main; sys.exit(main(sys.argv[1:]))"
    chosen = {"DIPTYCH_PORT": "0", "DIPTYCH_MAX_BATCH_SIZE": "8", "XDG_STATE_HOME": str(tmp_path / "state")}
    others = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
    log_file = tmp_path / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments, *FEW],
            env={**others, **chosen},
            stdout=log,
            stderr=log,
        )
    try:
        url = wait_until_ready(process, log_file)
        answer = httpx.post(f"{url}/embed", json={"input": [{"text": "red"}]}).raise_for_status().json()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
    assert answer["model"]["name"] == "mine"
    assert (tmp_path / "state" / "diptych-mine").is_dir()


def wait_until_ready(process: "subprocess.Popen[bytes]", log_file: Path) -> str:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        for line in log_lines(log_file):
            if line["message"] == "ready":
                return str(line["url"])
        time.sleep(0.1)
    raise AssertionError(log_file.read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/at/all", "--name", "x"], "not a local file, folder or run"),
        (
            ["some/model", "--name", "x", "--proof-images", "20"],
            "--proof-images 20: a proof needs at least 1,000 images; with fewer, also pass --ungated",
        ),
        (["some/model", "--name", "x", "--model-repo", __file__], "test_import_command.py: must be a folder"),
        (["some/model", "--name", "No Name"], "model name 'No Name' must match"),
        (["some/model", "--name", "x", "--precisions", "int4"], "--precisions: 'int4' is not one of"),
        (["some/model", "--name", "x", "--prompts", "nosuch"], "no built-in template set 'nosuch'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_fetched(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "--model-repo", str(tmp_path / "repo"), *arguments]) == 1

    said = capsys.readouterr().err
    assert message in said
    assert "0/" not in said  # no progress of what was not begun
    assert list(tmp_path.iterdir()) == []
