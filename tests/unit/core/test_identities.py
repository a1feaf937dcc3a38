"""Which vectors the versions of a model repository make, under today's identities and earlier ones."""

import json
from pathlib import Path

from diptych.bundle.manifest import bundle_digest, identity, legacy_identity
from diptych.bundle.repository import ModelRepository
from diptych.core.identities import legacy_identities, made_by
from diptych.core.transfer import SourceFilter, vector_sources
from unit.bundle.bundle_examples import draft, fill_bundle


def publish(root: Path, name: str = "m", graph: bytes = b"graph", **extra: object) -> tuple[str, str]:
    """Publish a version; return the sha256 of its manifest and its identity."""
    repository = ModelRepository(root)
    with repository.staging(name) as staged:
        fill_bundle(staged)
        (staged / "image_encoder.onnx").write_bytes(graph)
        version = repository.publish(name, staged, draft(extra=extra))
    manifest, folder = repository.manifest(name, version), repository.folder(name, version)
    return bundle_digest(folder), identity(manifest, "fp32", "exact")


def made_from(digest: str) -> dict[str, str]:
    return {"version": "m/1", "manifest_sha256": digest}


def test_earlier_identities_lead_to_the_newest_version_with_the_same_graphs(tmp_path: Path) -> None:
    first, identity_of_first = publish(tmp_path)
    second, identity_of_second = publish(tmp_path, made_from=made_from(first))
    third, identity_of_third = publish(tmp_path, graph=b"other")
    assert identity_of_first == identity_of_second != identity_of_third
    found = legacy_identities(ModelRepository(tmp_path))
    assert len(found) == 6  # three versions in two decode modes
    for digest in (first, second):
        today, source = found[legacy_identity(digest, "fp32", "exact")]
        assert (today, source.ref.version, source.ref.bundle) == (identity_of_first, 2, second)
    today, source = found[legacy_identity(third, "fp32", "exact")]
    assert (today, source.ref.bundle, source.precision, source.decode) == (
        identity_of_third, third, "fp32", "exact",
    )  # fmt: skip


def test_version_that_is_gone_is_known_by_the_one_that_was_made_from_it(tmp_path: Path) -> None:
    gone = "a" * 64
    digest, today = publish(tmp_path, made_from=made_from(gone))
    found = legacy_identities(ModelRepository(tmp_path))
    for one in (gone, digest):
        assert found[legacy_identity(one, "fp32", "exact")][0] == today
    sources = vector_sources(ModelRepository(tmp_path), "m")
    assert sources[legacy_identity(gone, "fp32", "fast")] == sources[legacy_identity(digest, "fp32", "fast")]


def test_version_that_claims_the_graphs_of_another_does_not_take_its_vectors(tmp_path: Path) -> None:
    first, identity_of_first = publish(tmp_path)
    publish(tmp_path, graph=b"other", made_from=made_from(first))
    found = legacy_identities(ModelRepository(tmp_path))
    assert found[legacy_identity(first, "fp32", "exact")][0] == identity_of_first


def test_unreadable_versions_and_unknown_names_are_passed_over(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    (tmp_path / "m" / "1" / "manifest.json").write_text(json.dumps({"schema_version": 1}))
    repository = ModelRepository(tmp_path)
    assert {made.source.ref.version for made in made_by(repository)} == {2}
    assert list(made_by(repository, ["unknown"])) == []
    assert legacy_identities(ModelRepository(tmp_path / "nowhere")) == {}


def test_source_that_is_wanted_is_named_where_several_versions_make_the_same_vectors(tmp_path: Path) -> None:
    _, today = publish(tmp_path)
    publish(tmp_path)
    repository = ModelRepository(tmp_path)
    assert vector_sources(repository, "m")[today].version == 2
    assert vector_sources(repository, "m", SourceFilter(version=1))[today].version == 1
