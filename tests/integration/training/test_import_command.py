"""`diptych-train import`, from a checkpoint to a bundle that the server's parts load."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
from diptych_training.evaluate.proof_set.file import read_proof_set
from diptych_training.evaluate.proof_set.photos import PhotoVariants, photographs
from diptych_training.export.onnx import files as onnx_files
from diptych_training.export.optimise import FLOAT32, REWRITES
from diptych_training.importing import publish
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.hub import fetch_checkpoint
from diptych_training.importing.manifest import ImportOptions
from diptych_training.importing.own import OwnEncoder
from diptych_training.importing.publish import import_checkpoint
from diptych_training.importing.source import Source, find_source
from diptych_training.stages import ProgressReporter
from support.exported_once import exported_once
from support.hugging_face_checkpoints import make_clip
from support.local_hub import COMMIT, local_hub
from support.open_clip_checkpoints import make_vit
from support.server import log_lines
from support.tiny_run import write_tiny_run

FEW = ("--ungated", "--proof-images", "20", "--no-optimise")


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module", autouse=True)
def _graphs_are_exported_once() -> Iterator[None]:
    with exported_once():
        yield


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


def test_freely_licensed_photographs_become_its_proof_set(model_repo: Path) -> None:
    folder, manifest, *_ = bundle(model_repo, "theirs")

    proof_set = read_proof_set(folder)

    assert proof_set is not None
    assert (proof_set.n_pictures("validation"), proof_set.n_pictures("train")) == (1_000, 0)
    assert proof_set.image_size == manifest.image.size
    free = {photograph.path.stem for photograph in photographs() if photograph.free}
    assert {source.name for source in proof_set.sources} == free
    card = " ".join((folder / "MODEL_CARD.md").read_text().split())
    assert "| coffee | validation | pairs | 111 | Rachel Michetti | CC0-1.0 |" in card


def test_text_differences_stand_in_manifest_and_card(model_repo: Path) -> None:
    folder, manifest, _, _ = bundle(model_repo, "theirs")
    stated = manifest.extra["text_differences"]
    card = (folder / "MODEL_CARD.md").read_text()

    assert isinstance(stated, dict)
    assert stated["n_texts"] - stated["n_equal"] == len(stated["differing"])
    assert "special literals" in {row["kind"] for row in stated["differing"]}
    assert "special literals" in card
    left_out = next(line for line in card.splitlines() if "| texts left out" in line)
    assert left_out.endswith(f" {len(stated['differing'])} |")
    assert "1.0000000 (>= 0.99999)" in card or "0.99999" in card
    assert "$" not in card.replace("$2,500", "")


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


@pytest.mark.long
def test_weights_beside_their_graph_go_through_every_precision(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "MAX_INLINE_BYTES", 1000)
    repo = ["--model-repo", str(tmp_path / "repo"), "--ungated", "--proof-images", "20"]

    assert main(["import", str(tiny_run), "--name", "large", *repo, "--precisions", "int8,fp16"]) == 0

    folder, manifest, tokenizer, _ = bundle(tmp_path / "repo", "large")
    assert {"image_encoder.onnx.data", "text_encoder.fp16.onnx.data"} <= set(manifest.files)
    golden = read_golden(folder / "golden.npz")
    for precision, files in manifest.precisions.items():
        encoder = OnnxEncoder(folder / files.image_file, folder / files.text_file)
        check_golden(golden, manifest, precision, tokenizer, encoder)
    assert list(manifest.precisions) == ["fp32", "int8", "fp16"]
    assert {"optimised", "int8", "fp16"} <= set(manifest.extra)


def test_a_checkpoint_from_a_hub_says_where_it_came_from(
    model_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with local_hub({"some/clip": make_clip(tmp_path / "clip")}) as hub:
        fetch = partial(fetch_checkpoint, endpoint=hub.url, cache=tmp_path / "cache")
        imported = find_source("some/clip@main", Choices(), fetch=fetch).load()

    here = bundle(model_repo, "theirs")[1]
    assert (imported.source["hub"], imported.source["revision"]) == ("some/clip", COMMIT)
    assert (imported.image, imported.text) == (here.image, here.text)


@pytest.mark.long
def test_an_open_clip_folder_is_imported(tmp_path: Path) -> None:
    checkpoint = make_vit(tmp_path / "vit", quick_gelu=True)

    assert (
        main(["import", str(checkpoint), "--name", "vit", "--model-repo", str(tmp_path / "repo"), *FEW]) == 0
    )

    _, manifest, _, _ = bundle(tmp_path / "repo", "vit")
    parity = manifest.precisions["fp32"].parity
    assert parity is not None
    assert parity.cosine_min >= 0.99999
    assert manifest.text.clean == "clip"


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


def test_more_dimensions_than_there_are_is_an_error_before_the_work(
    tmp_path: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["import", str(tiny_run), "--name", "half", "--model-repo", str(tmp_path / "repo")]
    assert main([*arguments, *FEW, "--matryoshka-dimensions", "64,100000"]) == 1
    printed = capsys.readouterr()
    assert "--matryoshka-dimensions 100000: embeddings have" in printed.err
    assert "write image graph" not in printed.out
    assert list((tmp_path / "repo").iterdir()) == []


def test_ctrl_c_leaves_nothing_behind(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "write_image_graph", interrupted)
    arguments = ["import", str(tiny_run), "--name", "half", "--model-repo", str(tmp_path / "repo")]

    assert main([*arguments, *FEW]) == INTERRUPTED
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


def test_full_disk_names_the_repository(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publish, "write_image_graph", full)
    arguments = ["import", str(tiny_run), "--name", "half", "--model-repo", str(tmp_path / "repo")]

    assert main([*arguments, *FEW]) == 1
    assert f"{tmp_path / 'repo' / 'half'}: No space left on device" in capsys.readouterr().err


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


def test_photographs_that_a_proof_needs_are_missed_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diptych_training.evaluate.proof_set.photos.find_spec", lambda _: None)
    monkeypatch.setattr("diptych_training.importing.command.find_source", lambda *_: pytest.fail("fetched"))
    photographs.cache_clear()

    assert main(["import", "some/model", "--name", "x", "--model-repo", str(tmp_path / "repo")]) == 1

    assert "the proof needs the photographs that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mean", "1,2,x"], "argument --mean: '1,2,x' must be three numbers"),
        (["--image-size", "abc"], "argument --image-size: 'abc' must be a whole number"),
        (["--context-length", "1"], "argument --context-length: 1 must be at least 3"),
    ],
)
def test_flag_with_a_wrong_value_is_named(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["import", "some/model", "--name", "x", *flags])

    assert message in capsys.readouterr().err
