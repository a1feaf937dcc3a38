"""OpenVINO's real plugin, on processors where it offers bf16."""

import asyncio
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.onnxruntime.openvino_provider import PLUGIN, why_no_bf16
from diptych.bundle.golden import check_golden
from diptych.bundle.parity import BOUNDS
from diptych.bundle.repository import ModelRepository
from diptych.core.concurrency.deadline_executor import DeadlineExecutor, Stuck
from diptych.errors import EncoderFailed, GoldenMismatch
from diptych.wiring.loading.bundles import VerifiedBundle, verify_bundle
from diptych.wiring.precisions.chosen import load_chosen
from support.default_model import default_bundle
from support.fake_openvino import OPENVINO
from support.tiny_bundle import TINY, write_tiny_bundle

(MIN_BATCH_COSINE,) = (bound.lowest for bound in BOUNDS["bf16"] if bound.measure == "batch_cosine_min")


@pytest.fixture(autouse=True)
def plugin(without_openvino_plugin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the plugin; skip the test where it offers no bf16."""
    monkeypatch.delitem(sys.modules, PLUGIN)
    if reason := why_no_bf16():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def default_model() -> VerifiedBundle:
    return verify_bundle(default_bundle())


def opened(bundle: VerifiedBundle, precision: str) -> OnnxEncoder:
    """Both graphs of a precision in the bundle, run in bf16."""
    graphs = bundle.manifest.precisions[precision]
    files = bundle.folder / graphs.image_file, bundle.folder / graphs.text_file
    return OnnxEncoder(*files, n_threads=1, bf16=True)


def test_version_is_served_in_bf16_with_its_parity(tmp_path: Path) -> None:
    bundle = verify_bundle(ModelRepository(tmp_path).folder(TINY, write_tiny_bundle(tmp_path)))
    loaded = load_chosen(bundle, precision="bf16", reason="named", device="auto", n_threads=1).loaded
    assert loaded.encoder.provider == OPENVINO
    assert loaded.parity is not None
    assert 0.999 <= loaded.parity.cosine_min < 1, "bf16 and not float32"
    assert loaded.parity.batch_cosine_min >= MIN_BATCH_COSINE


def test_stopped_call_does_not_run(tmp_path: Path) -> None:
    bundle = verify_bundle(ModelRepository(tmp_path).folder(TINY, write_tiny_bundle(tmp_path)))
    encoder = opened(bundle, "fp32")
    with pytest.raises(EncoderFailed):
        encoder.encode_image(bundle.golden.pixels, lambda stop: stop())


def test_running_batch_cannot_be_stopped_and_is_given_up_at_its_deadline(
    default_model: VerifiedBundle,
) -> None:
    encoder, golden = opened(default_model, "fp32"), default_model.golden
    pixels = np.concatenate([golden.pixels, golden.pixels])
    executor = DeadlineExecutor("test", 1, timeout_s=0.01, stop_within_s=0.01)
    with pytest.raises(Stuck, match=r"the encoder has not answered for 0\.01 s"):
        asyncio.run(executor.start(partial(encoder.encode_image, pixels)))
    executor.close()


def test_default_models_items_get_the_same_vectors_alone_and_in_a_batch(
    default_model: VerifiedBundle,
) -> None:
    encoder, golden = opened(default_model, "fp32"), default_model.golden
    for encode, items in ((encoder.encode_image, golden.pixels), (encoder.encode_text, golden.input_ids)):
        alone = np.concatenate([encode(items[n : n + 1]) for n in range(len(items))])
        assert np.sum(encode(items) * alone, axis=1).min() >= MIN_BATCH_COSINE


def test_golden_outputs_refuse_int8_graphs_which_the_plugin_computes_wrongly(
    default_model: VerifiedBundle,
) -> None:
    """Once this fails, int8 may be measured with the plugin, too."""
    encoder, bundle = opened(default_model, "int8"), default_model
    with pytest.raises(GoldenMismatch, match="cosine is"):
        check_golden(bundle.golden, bundle.manifest, "int8", bundle.tokenizer, encoder)
