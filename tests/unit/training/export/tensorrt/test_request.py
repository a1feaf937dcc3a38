"""Profiles and the builder's configuration as data, and what TensorRT is told of them."""

from pathlib import Path

import onnx
import pytest

from diptych.adapters.tensorrt.plan import build_plan, profile_shapes
from diptych.bundle.manifest import TextSpec
from diptych.bundle.tensorrt_build import Extent, Profile, TensorrtBuild, require_every_shape
from diptych.errors import BundleError, InvalidValue
from diptych_training.cli import build_parser
from diptych_training.export.tensorrt.request import (
    PlanRequest,
    image_profiles,
    parse_plan_precisions,
    plan_request,
    text_profiles,
)
from support.fake_cuda_bindings import FakeGpu
from support.fake_tensorrt import FakeTensorrt
from support.small_graphs import small_graph


def spec(pad_to: str = "longest", context_length: int = 77) -> TextSpec:
    return TextSpec(
        context_length=context_length, clean="none", pad_to=pad_to, pad_id=0, prompts={"default": ["{}"]}
    )


def asked(*flags: str) -> PlanRequest | None:
    return plan_request(build_parser().parse_args(["export", "--name", "mine", *flags]))


@pytest.mark.parametrize(
    ("text_spec", "lengths"),
    [
        (spec(), "2:16:77"),
        (spec(context_length=12), "2:12:12"),
        (spec("context_length", 64), "64:64:64"),
    ],
)
def test_profiles_take_every_shape_that_a_server_asks_for(text_spec: TextSpec, lengths: str) -> None:
    profiles = text_profiles(text_spec)
    assert {str(profile.length) for profile in profiles} == {lengths}
    build = TensorrtBuild(
        gpu="A card",
        compute_capability="9.0",
        version="10.16.1",
        image_profiles=image_profiles(),
        text_profiles=profiles,
    )
    require_every_shape(build, text_spec.lengths)


def test_flags_are_the_request() -> None:
    request = asked("--tensorrt", "--from-version", "3", "--plan-precisions", "fp16,fp32", "--ungated")
    assert request == PlanRequest(precisions=("fp16", "fp32"), ungated=True)
    assert asked("--tensorrt", "--from-version", "3") == PlanRequest()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ((), "--run is required"),
        (("--from-version", "1"), "--from-version needs --tensorrt"),
        (("--tensorrt",), "--tensorrt needs --run, or --from-version"),
        (("--tensorrt", "--from-version", "1", "--plan-precisions", "int8"), "fp16 and fp32"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        asked(*flags)


def test_export_of_a_run_without_plans_asks_for_none(tmp_path: Path) -> None:
    assert asked("--run", str(tmp_path)) is None


def test_precisions_are_named_once_each() -> None:
    assert parse_plan_precisions(" fp32, fp16,fp32 ") == ("fp32", "fp16")
    with pytest.raises(InvalidValue):
        parse_plan_precisions(",")


def test_free_axes_of_an_input_are_the_batch_and_then_the_length() -> None:
    batch, length = Extent(min=1, opt=8, max=64), Extent(min=2, opt=16, max=77)
    images = profile_shapes((-1, 224, 224, 3), Profile(batch=batch))
    assert images == ((1, 224, 224, 3), (8, 224, 224, 3), (64, 224, 224, 3))
    texts = profile_shapes((-1, -1), Profile(batch=batch, length=length))
    assert texts == ((1, 2), (8, 16), (64, 77))
    assert profile_shapes((-1, 64), Profile(batch=batch, length=length))[2] == (64, 64)  # a fixed length
    with pytest.raises(BundleError, match="2 free axes, the profile 1"):
        profile_shapes((-1, -1), Profile(batch=batch))


RELU = "g (float[B,4] x) => (float[B,4] y) { y = Relu (x) }"


def test_builder_is_told_the_profiles_the_memory_and_exact_float32(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tensorrt = FakeTensorrt(FakeGpu()).install(monkeypatch)
    onnx.save(small_graph(RELU, {}), tmp_path / "g.onnx")
    build_plan(tmp_path / "g.onnx", tmp_path / "g.plan", image_profiles(), workspace_bytes=1000)
    (built,) = tensorrt.built
    assert built["profiles"] == [[[1, 4], [1, 4], [4, 4]], [[1, 4], [32, 4], [256, 4]]]
    assert (built["workspace"], built["tf32"]) == (1000, False)


def test_what_tensorrt_says_when_it_cannot_build_is_the_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tensorrt = FakeTensorrt(FakeGpu()).install(monkeypatch)
    onnx.save(small_graph(RELU, {}), tmp_path / "g.onnx")
    tensorrt.refuses = "no implementation for node Relu"
    profiles = image_profiles()
    with pytest.raises(BundleError, match=r"cannot build a plan of g\.onnx: no implementation for node Relu"):
        build_plan(tmp_path / "g.onnx", tmp_path / "g.plan", profiles)
    tensorrt.reads_nothing = True
    with pytest.raises(BundleError, match=r"TensorRT cannot read g\.onnx: "):
        build_plan(tmp_path / "g.onnx", tmp_path / "g.plan", profiles)
    assert not (tmp_path / "g.plan").exists()
