"""What engines are asked for."""

import json
from pathlib import Path

from diptych.adapters.engine_options import engine_options, kept_options
from diptych.adapters.tensorrt_build import EngineJob
from diptych.core.profiles import image_profile, text_profile
from support.fake_tensorrt import KNOWN_OPTIONS, SWITCHED


def test_options_are_those_that_the_provider_knows() -> None:
    options = engine_options(Path("/cache"), "image_encoder", "pixels", image_profile(224, 64))
    assert options.keys() <= KNOWN_OPTIONS
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/cache"
    assert options["trt_profile_min_shapes"] == "pixels:1x224x224x3"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == "pixels:64x224x224x3"


def test_switches_are_spelled_as_the_provider_reads_them_in_the_process_that_builds_too() -> None:
    options = engine_options(Path("/cache"), "image_encoder", "pixels", image_profile(224, 64))
    switches = {name for name in options if name.endswith("_enable")}
    assert switches >= {"trt_engine_cache_enable", "trt_timing_cache_enable", "trt_fp16_enable"}
    told = json.loads(EngineJob((("image_encoder.onnx", options),)).to_json())["towers"][0][1]
    for given in (options, told):
        assert {str(given[name]) for name in switches} <= SWITCHED


def test_engines_compute_in_the_types_of_their_graph() -> None:
    options = kept_options("text_encoder", "input_ids", text_profile((8, 16, 77), 32))
    assert [options[f"trt_{kind}_enable"] for kind in ("fp16", "bf16", "int8")] == [False] * 3
    assert options["trt_profile_opt_shapes"] == "input_ids:32x16"


def test_builder_leaves_memory_to_what_serves_beside_it() -> None:
    options = kept_options("image_encoder", "pixels", image_profile(224, 64))
    assert 0 < int(options["trt_max_workspace_size"]) <= 1 << 30  # 0 is all that is free


def test_what_decides_on_an_engine_does_not_name_where_it_is() -> None:
    profile = image_profile(224, 64)
    kept = kept_options("image_encoder", "pixels", profile)
    assert not any("/cache" in str(value) for value in kept.values())
    assert kept.items() <= engine_options(Path("/cache"), "image_encoder", "pixels", profile).items()
