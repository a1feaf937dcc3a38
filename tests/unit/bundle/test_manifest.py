import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diptych.bundle.manifest import (
    FileEntry,
    ImageSpec,
    Manifest,
    Parity,
    Precision,
    TextSpec,
    bundle_digest,
    complete,
    identity,
    read_manifest,
)
from diptych.errors import InvalidManifest
from support.bundle_examples import draft, image_spec, text_spec

ENTRY = FileEntry(sha256="0" * 64, bytes=1)
FILES = dict.fromkeys(["image_encoder.onnx", "text_encoder.onnx", "tokenizer.json", "golden.npz"], ENTRY)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def example() -> Manifest:
    return complete(draft(), "pictograms", 3, NOW, FILES)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictograms" / "3"
    folder.mkdir(parents=True)
    return folder


def write(folder, stated):
    (folder / "manifest.json").write_text(stated if isinstance(stated, str) else json.dumps(stated))


def changed(*path, value):
    """Return the example as JSON data with one value replaced."""
    stated = json.loads(example().model_dump_json())
    target = stated
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return stated


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
unit = st.floats(0, 1)


@given(
    extra=st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    size=st.integers(1, 4096),
    mean=st.tuples(unit, unit, unit),
    fill=st.tuples(*[st.integers(0, 255)] * 3),
    resize_mode=st.sampled_from(["shortest", "longest", "squash"]),
    crop=st.sampled_from(["round", "floor"]),
    scale=st.floats(0.001, 1e6),
    bias=st.floats(-100, 100),
    when=st.datetimes(timezones=st.just(UTC)),
)
def test_every_manifest_survives_the_round_trip(
    extra, size, mean, fill, resize_mode, crop, scale, bias, when
):
    image = image_spec(size=size, mean=mean, fill_color=fill, resize_mode=resize_mode, crop=crop)
    stated = draft(image=image, extra=extra, logit_scale=scale, logit_bias=bias)
    manifest = complete(stated, "a", 1, when, FILES)
    assert Manifest.model_validate_json(manifest.model_dump_json(indent=2), strict=True) == manifest


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("colour",), 1, "colour: unknown key"),
        (("image", "colour"), 1, "image.colour: unknown key"),
        (("precisions", "fp32", "parity", "speed"), 1, "precisions.fp32.parity.speed: unknown key"),
        (("embed_dim",), "512", "embed_dim: .*integer.*got '512'"),
        (("embed_dim",), 1.5, "embed_dim: .*got 1.5"),
        (("image", "crop"), "ceil", "image.crop: .*'round' or 'floor'.*got 'ceil'"),
        (("image", "std"), [0.2, 0, 0.2], "image.std.1: .*greater than 0.*got 0"),
        (("image", "resize"), 16, "image: .*resize 16 with size 32 .*at least size"),
        (("image", "fill_color"), [0, 0, 256], "image.fill_color.2: .*got 256"),
        (("text", "prompts"), {"short": ["{}"]}, "text: .*named 'default'"),
        (("text", "prompts", "default"), ["a {} and {}"], "text.prompts.default.0: .*exactly one"),
        (("text", "prompts", "default"), [], "text.prompts.default: "),
        (("precisions", "fp8"), {}, "precisions.fp8.*one of fp32, fp16, int8"),
        (("precisions", "bf16"), {}, "precisions.bf16.*one of fp32, fp16, int8"),
        (("precisions", "fp32", "parity"), None, "precisions without parity need ungated: fp32"),
        (("files", "golden.npz", "sha256"), "abc", "files.golden.npz.sha256: .*got 'abc'"),
        (("files",), {}, "files does not list tokenizer.json, golden.npz, image_encoder.onnx"),
        (("schema_version",), "1", "schema_version: .*got '1'"),
        (("schema_version",), 0, "schema_version: .*got 0"),
        (("created_at",), "2026-01-02T03:04:05", "created_at: .*timezone"),
    ],
)
def test_refusal_names_the_key_and_the_value(folder, path, value, complaint):
    write(folder, changed(*path, value=value))
    with pytest.raises(InvalidManifest, match=f"^pictograms/3/manifest.json: .*{complaint}"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("measure", "value", "complaint"),
    [
        ("cosine_min", 0.99, "cosine_min is 0.99, the bound is 0.99999"),
        ("batch_cosine_min", 0.9998, "batch_cosine_min is 0.9998, the bound is 0.99999"),
        ("n_images", 999, "n_images is 999, the bound is 1000"),
        ("n_texts", 99, "n_texts is 99, the bound is 100"),
    ],
)
def test_version_that_breaks_its_bounds_is_read_only_when_it_says_ungated(folder, measure, value, complaint):
    stated = changed("precisions", "fp32", "parity", measure, value=value)
    write(folder, stated)
    with pytest.raises(InvalidManifest, match=f"precisions.fp32.parity: {complaint}"):
        read_manifest(folder)
    write(folder, {**stated, "ungated": True})
    assert read_manifest(folder).ungated


def test_bounds_are_those_of_each_precision(folder):
    stated = example().model_dump(mode="json")
    parity = stated["precisions"]["fp32"]["parity"]
    low = {"cosine_min": 0.97, "cosine_mean": 0.995, "top1_agreement": 0.985}
    stated["precisions"]["int8"] = {**stated["precisions"]["fp32"], "parity": {**parity, **low}}
    write(folder, stated)
    assert read_manifest(folder).precisions["int8"].parity.cosine_min == 0.97
    stated["precisions"]["int8"]["parity"]["top1_agreement"] = 0.97
    write(folder, stated)
    with pytest.raises(InvalidManifest, match=r"int8.parity: top1_agreement is 0\.97, .* is 0\.98"):
        read_manifest(folder)


def test_key_that_is_there_twice_is_named(folder):
    text = example().model_dump_json()
    write(folder, text.replace('"crop":', '"crop":"floor","crop":'))
    with pytest.raises(InvalidManifest, match="the key 'crop' occurs twice in one object"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "name", ["../weights", "/etc/passwd", "a/b", "..", ".hidden", "", "a\\b", "manifest.json", "a\0"]
)
def test_only_plain_file_names_can_be_listed(folder, name):
    write(folder, changed("files", name, value={"sha256": "0" * 64, "bytes": 1}))
    with pytest.raises(InvalidManifest, match="files"):
        read_manifest(folder)
    with pytest.raises(ValidationError, match="image_file"):
        Precision(image_file=name, text_file="text_encoder.onnx", parity=None)


def test_newer_schema_is_named_before_its_unknown_keys(folder):
    write(folder, {**changed("colour", value=1), "schema_version": 4})
    with pytest.raises(InvalidManifest, match="schema_version 4 is newer than 3"):
        read_manifest(folder)


def test_only_a_text_cleaning_that_older_readers_do_not_know_raises_the_schema(folder):
    cased = complete(draft(text=text_spec(clean="clip_cased")), "pictograms", 3, NOW, FILES)
    write(folder, cased.model_dump_json())
    assert read_manifest(folder) == cased
    assert (example().schema_version, cased.schema_version) == (1, 3)


def test_version_with_tensorrt_plans_of_schema_2_is_refused_with_what_to_do(folder):
    write(folder, {**changed("schema_version", value=2), "tensorrt": {"gpu": "NVIDIA H100"}})
    with pytest.raises(InvalidManifest, match=r"pictograms/3/manifest.json: .* TensorRT plans.* --tensorrt"):
        read_manifest(folder)


def test_schema_2_has_no_such_cleaning(folder):
    write(folder, {**changed("text", "clean", value="clip_cased"), "schema_version": 2})
    with pytest.raises(InvalidManifest, match=r"text\.clean: unknown value 'clip_cased' in schema_version 2"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "must be a JSON object, not list"),
        ("[" * 100_000, "not JSON"),
        ("\xff\xfe\0\x80", "not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(folder, text, complaint):
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(InvalidManifest, match=complaint):
        read_manifest(folder)


def test_missing_manifest_is_named_without_its_absolute_path(folder):
    with pytest.raises(InvalidManifest, match=r"^pictograms/3/manifest.json: cannot be read") as refusal:
        read_manifest(folder)
    assert str(folder.parent.parent) not in str(refusal.value)


@pytest.mark.parametrize("dimensions", [64, ["64"], [0], [True], [10**6], {"64": 1}])
def test_dimensions_to_cut_to_must_be_of_the_embedding(folder, dimensions):
    write(folder, changed("extra", value={"matryoshka_dimensions": dimensions}))
    with pytest.raises(
        InvalidManifest, match=r"extra\.matryoshka_dimensions must be a list of whole numbers"
    ):
        read_manifest(folder)


def test_dimensions_to_cut_to_are_listed_or_none(folder):
    write(folder, changed("extra", value={"matryoshka_dimensions": [4, 2]}))
    assert read_manifest(folder).matryoshka_dimensions == (2, 4)
    write(folder, changed("extra", value={}))
    assert read_manifest(folder).matryoshka_dimensions == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_hold_are_refused(value):
    with pytest.raises(ValidationError):
        draft(metrics={"top1": value})
    with pytest.raises(ValidationError):
        draft(logit_scale=value)


def test_the_format_page_names_every_key():
    page = (Path(__file__).parents[3] / "docs" / "bundle-format.md").read_text()
    keys = {
        key
        for part in (Manifest, ImageSpec, TextSpec, Parity, Precision, FileEntry)
        for key in part.model_fields
    }
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def entry(digit: str) -> FileEntry:
    return FileEntry(sha256=digit * 64, bytes=1)


def with_files(manifest: Manifest, **files: FileEntry) -> Manifest:
    named = {name.replace("__", "."): file for name, file in files.items()}
    return manifest.model_copy(update={"files": {**manifest.files, **named}})


def test_identity_is_that_of_what_makes_vectors():
    manifest = example()
    first = identity(manifest, "fp32", "exact")
    assert len(first) == 64
    others = {
        "decode mode": identity(manifest, "fp32", "fast"),
        "image graph": identity(with_files(manifest, image_encoder__onnx=entry("1")), "fp32", "exact"),
        "text graph": identity(with_files(manifest, text_encoder__onnx=entry("1")), "fp32", "exact"),
        "tokenizer": identity(with_files(manifest, tokenizer__json=entry("1")), "fp32", "exact"),
        "image section": identity(
            manifest.model_copy(update={"image": image_spec(size=64)}), "fp32", "exact"
        ),
        "text section": identity(manifest.model_copy(update={"text": text_spec(pad_id=5)}), "fp32", "exact"),
    }
    assert len({first, *others.values()}) == 1 + len(others)


def test_nothing_else_changes_the_identity():
    manifest = example()
    prompts = text_spec(prompts={"default": ["another {}"]})
    same = (
        with_files(manifest, golden__npz=entry("1"), MODEL_CARD__md=entry("2")),
        manifest.model_copy(
            update={"name": "other", "version": 9, "metrics": {"top1": 1.0}, "extra": {"a": 1}}
        ),
        manifest.model_copy(update={"text": prompts, "logit_scale": 2.0}),
    )
    assert {identity(one, "fp32", "exact") for one in same} == {identity(manifest, "fp32", "exact")}


def test_bf16_is_served_from_the_fp32_graphs_with_an_identity_of_its_own():
    manifest = example()
    assert manifest.served_precisions == ("fp32", "bf16")
    assert manifest.graphs("bf16") == manifest.precisions["fp32"]
    changed = with_files(manifest, image_encoder__onnx=entry("1"))
    made = {identity(one, name, "exact") for one in (manifest, changed) for name in ("fp32", "bf16")}
    assert len(made) == 4


def test_identity_counts_the_data_files_of_its_own_graphs():
    files = {"image_file": "image_encoder.int8.onnx", "text_file": "text_encoder.int8.onnx"}
    fp32 = example().precisions["fp32"]
    both = with_files(example(), image_encoder__int8__onnx=entry("3"), text_encoder__int8__onnx=entry("4"))
    both = both.model_copy(update={"precisions": {"fp32": fp32, "int8": fp32.model_copy(update=files)}})

    def identities(manifest: Manifest) -> tuple[str, str]:
        return identity(manifest, "fp32", "exact"), identity(manifest, "int8", "exact")

    fp32_before, int8_before = identities(both)
    fp32_after, int8_after = identities(with_files(both, image_encoder__onnx__data=entry("5")))
    assert (fp32_after == fp32_before, int8_after == int8_before) == (False, True)
    unnamed = identities(with_files(both, weights__data=entry("5")))  # may belong to any graph
    assert {fp32_before, int8_before}.isdisjoint(unnamed)


def test_digest_of_a_bundle_is_that_of_its_manifest(folder):
    write(folder, example().model_dump_json())
    assert bundle_digest(folder) == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
