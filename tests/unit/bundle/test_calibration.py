import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.calibration import (
    Calibration,
    RelevanceMap,
    background,
    calibrated_identity,
    calibration_file,
    read_calibration,
    write_calibration,
)
from diptych.bundle.manifest import FileEntry, complete
from diptych.errors import CorruptBundle
from support.bundle_examples import draft

FILES = ["image_encoder.onnx", "text_encoder.onnx", "tokenizer.json", "golden.npz"]
ENTRIES = dict.fromkeys(FILES, FileEntry(sha256="0" * 64, bytes=1))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANIFEST = complete(draft(), "mine", 5, NOW, ENTRIES)
MAP = RelevanceMap(floor=3.0, width=2.0, slope=1.5, growth=0.3, error=0.02, n_queries=900)


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, MANIFEST.embed_dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def calibration(**changes: object) -> Calibration:
    values = {"identity": calibrated_identity(MANIFEST), "bank": unit_rows(50), "maps": {"text": MAP}}
    return Calibration(**{**values, **changes})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = calibration_file(tmp_path / "mine" / "5")
    written.parent.mkdir()
    write_calibration(written, calibration())
    return written


def rewrite(file: Path, **changes: object) -> None:
    """Write the file again with other arrays, or other keys of its JSON."""
    with np.load(file) as arrays:
        bank, about = arrays["bank"], json.loads(arrays["about"].tobytes())
    bank = changes.pop("bank", bank)
    encoded = json.dumps({**about, **changes}).encode()
    np.savez_compressed(file, bank=bank, about=np.frombuffer(encoded, dtype=np.uint8))


def test_the_file_lies_beside_the_folder_of_its_version(file: Path) -> None:
    assert file.name == "5.calibration.npz"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_is_written_is_read_again(file: Path) -> None:
    found = read_calibration(file, MANIFEST)
    assert found.identity == calibrated_identity(MANIFEST)
    assert found.maps == {"text": MAP}
    np.testing.assert_allclose(found.bank, unit_rows(50), atol=1e-3)


def test_the_same_calibration_gives_the_same_bytes(file: Path) -> None:
    before = file.read_bytes()
    write_calibration(file, calibration())
    assert file.read_bytes() == before


def test_a_copy_of_the_version_under_another_number_keeps_it(file: Path) -> None:
    copied = complete(draft(), "theirs", 8, NOW, ENTRIES)
    assert read_calibration(file, copied).maps == {"text": MAP}


def test_the_calibration_of_other_vectors_is_refused(file: Path) -> None:
    others = {**ENTRIES, "text_encoder.onnx": FileEntry(sha256="1" * 64, bytes=1)}
    with pytest.raises(CorruptBundle, match=r"5.calibration.npz: made for other vectors \(.{8}\) than those"):
        read_calibration(file, complete(draft(), "mine", 5, NOW, others))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "its format is 2, this reader knows 1"),
        ({"identity": 7}, "identity is 7"),
        ({"maps": {"sound": MAP.model_dump()}}, "queries of kind 'sound'"),
        ({"maps": {"text": {**MAP.model_dump(), "slope": 0}}}, "greater than 0"),
        ({"maps": {"text": {**MAP.model_dump(), "floor": 1e6}}}, "less than or equal to 100"),
        (
            {"maps": {"text": {**MAP.model_dump(), "cohort": [0.1, 0.1]}}},
            "first share must be below its second",
        ),
        ({"maps": {"text": {**MAP.model_dump(), "cohort": [0, 1.5]}}}, "less than or equal to 1"),
        ({"maps": {"text": {**MAP.model_dump(), "cohort": [0.98, 1]}}}, "leaves 1 of the 50 rows of bank"),
        ({"maps": {"text": {**MAP.model_dump(), "cohort": [0.999, 1]}}}, "leaves 0 of the 50 rows of bank"),
        ({"maps": {"text": {**MAP.model_dump(), "more": 1}}}, "not permitted"),
        ({"bank": unit_rows(50)}, "bank is float32"),
        ({"bank": unit_rows(1).astype(np.float16)}, "must have 2 to 20,000 rows of 4 numbers"),
        ({"bank": unit_rows(50)[:, :3].astype(np.float16)}, "must have 2 to 20,000 rows of 4 numbers"),
        ({"bank": 2 * unit_rows(50).astype(np.float16)}, "norms of bank differ from 1"),
        ({"bank": np.full((50, 4), np.nan, np.float16)}, "norms of bank differ from 1"),
        ({"bank": np.array([[object()] * 4] * 2)}, "bank is object"),
    ],
)
def test_a_damaged_file_is_refused_by_what_is_wrong(
    file: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(file, **changes)
    with pytest.raises(CorruptBundle, match=message):
        read_calibration(file, MANIFEST)


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_half_a_file_is_refused(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CorruptBundle, match="not a calibration"):
        read_calibration(file, MANIFEST)


def test_an_array_that_states_more_than_it_has_is_refused(file: Path) -> None:
    content = io.BytesIO()
    np.save(content, unit_rows(50).astype(np.float16))
    stated = content.getvalue().replace(b"(50, 4)", b"(90, 4)")
    with np.load(file) as arrays:
        about = arrays["about"]
    other = io.BytesIO()
    np.save(other, about)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bank.npy", stated)
        archive.writestr("about.npy", other.getvalue())
    with pytest.raises(CorruptBundle, match=r"bank has 400 bytes, its shape is \(90, 4\)"):
        read_calibration(file, MANIFEST)


def relevance(cosines: list[float], *, best: float | None = None, n_images: int = 50) -> np.ndarray:
    found = calibration().relevance(
        "text",
        unit_rows(1, seed=1)[0],
        np.array(cosines, np.float32),
        best=max(cosines) if best is None else best,
        n_images=n_images,
    )
    assert found is not None
    return found


def test_a_nearer_image_is_more_relevant() -> None:
    found = relevance([0.9, 0.8, 0.2, -0.5])
    assert (np.diff(found) < 0).all()
    assert (found > 0).all()
    assert (found < 1).all()


def test_a_hit_far_below_the_best_is_less_relevant_than_as_the_best() -> None:
    assert relevance([0.6], best=0.9)[0] < relevance([0.6])[0]


def test_a_best_hit_among_more_images_is_less_relevant() -> None:
    few, many = relevance([0.9], n_images=50)[0], relevance([0.9], n_images=50_000)[0]
    assert np.log(few / (1 - few)) - np.log(many / (1 - many)) == pytest.approx(0.3 * np.log(1000))


def test_the_floor_is_even_odds_in_a_collection_as_large_as_the_bank() -> None:
    mean, deviation = background(unit_rows(50) @ unit_rows(1, seed=1)[0], MAP.cohort)
    assert relevance([float(mean + 3.0 * deviation)])[0] == pytest.approx(0.5, abs=1e-3)


def test_the_background_of_normal_cosines_is_about_that_of_the_bank_for_any_cohort() -> None:
    cosines = np.random.default_rng(0).normal(0.2, 0.05, (5, 20_000)).astype(np.float32)
    mean, deviation = background(cosines, (0.01, 0.15))
    np.testing.assert_allclose(mean, cosines.mean(axis=1), atol=0.005)
    np.testing.assert_allclose(deviation, cosines.std(axis=1), rtol=1e-5)


def test_pictures_of_the_kind_that_a_text_asks_for_do_not_stand_out_from_the_others() -> None:
    """The cosines of a text that asks for photographs, to a bank of drawings with a sixth of photographs."""
    rng = np.random.default_rng(0)
    photographs, drawings = rng.normal(0.3, 0.08, 1000), rng.normal(0.0, 0.02, 5000)
    cosines = np.concatenate([photographs, drawings]).astype(np.float32)
    whole, near = (
        (0.46 - mean) / deviation
        for mean, deviation in (background(cosines, cohort) for cohort in ((0.0, 1.0), (0.01, 0.15)))
    )
    assert near < 0.75 * whole


def test_a_calibration_without_a_cohort_was_fitted_on_the_whole_bank(file: Path) -> None:
    before = MAP.model_dump(exclude={"cohort"})
    rewrite(file, maps={"text": before})
    found = read_calibration(file, MANIFEST)
    assert found.maps["text"].cohort == (0, 1)
    query, cosines = unit_rows(1, seed=1)[0], np.array([0.9, 0.5], np.float32)
    bank = unit_rows(50).astype(np.float16).astype(np.float32) @ query
    scores = (cosines - bank.mean()) / bank.std()
    expected = MAP.probabilities(scores, float(scores[0]), 0.0)
    np.testing.assert_allclose(
        found.relevance("text", query, cosines, best=0.9, n_images=50), expected, rtol=1e-4
    )


def test_a_kind_of_query_without_a_map_has_no_relevance() -> None:
    query, cosines = unit_rows(1)[0], np.array([0.5], np.float32)
    assert calibration().relevance("image", query, cosines, best=0.5, n_images=50) is None


@pytest.mark.parametrize(
    ("measured", "ignored"),
    [
        ({"error": 0.2, "n_queries": 50}, None),
        ({"error": 0.21, "n_queries": 900}, "its calibration error is 0.21, more than 0.2"),
        ({"error": 0.2001, "n_queries": 900}, "its calibration error is 0.2001, more than 0.2"),
        ({"error": 0.01, "n_queries": 49}, "it was fitted on 49 queries, fewer than 50"),
        ({"error": None, "n_queries": 0}, "it was fitted on 0 queries, fewer than 50"),
    ],
)
def test_an_unreliable_map_is_ignored(measured: dict[str, float | None], ignored: str | None) -> None:
    judged = calibration(maps={"text": MAP.model_copy(update=measured)})
    assert judged.without("text") == ignored
    found = judged.relevance("text", unit_rows(1)[0], np.array([0.5], np.float32), best=0.5, n_images=50)
    assert (found is None) == (ignored is not None)


def test_a_bank_of_equal_cosines_does_not_divide_by_zero() -> None:
    row = unit_rows(1)[0]
    equal = calibration(bank=np.stack([row, row]))
    found = equal.relevance("text", row, np.array([1.0], np.float32), best=1.0, n_images=0)
    assert found is not None
    assert np.isfinite(found).all()
