"""Which vectors the versions of a model make, and whose vectors of a collection are exported."""

import json
from pathlib import Path

from diptych.bundle.manifest import bundle_digest, identity
from diptych.bundle.repository import ModelRepository
from diptych.core.identities import DECODE_MODES, made_by
from diptych.core.transfer import SourceFilter, VectorSource, chosen_identity, vector_sources
from diptych.core.types import Target, VersionRef
from support.bundle_examples import draft, fill_bundle


def publish(root: Path, name: str = "m") -> str:
    """Publish another version of the same graphs; return the identity of its vectors."""
    repository = ModelRepository(root)
    with repository.staging(name) as staged:
        fill_bundle(staged)
        version = repository.publish(name, staged, draft())
    return identity(repository.manifest(name, version), "fp32", "exact")


def test_versions_with_the_same_graphs_make_the_same_vectors_in_each_decode_mode(tmp_path: Path) -> None:
    exact = publish(tmp_path)
    assert publish(tmp_path) == exact
    publish(tmp_path, "another")
    repository = ModelRepository(tmp_path)
    refs = [VersionRef("m", number, bundle_digest(repository.folder("m", number))) for number in (1, 2)]
    manifest = repository.manifest("m", 1)
    assert list(made_by(repository, "m")) == [
        (identity(manifest, precision, decode), Target(ref, precision, decode))
        for ref in refs
        for precision in ("fp32", "bf16")
        for decode in DECODE_MODES
    ]


def test_unreadable_versions_and_unknown_names_are_passed_over(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    (tmp_path / "m" / "1" / "manifest.json").write_text(json.dumps({"schema_version": 1}))
    repository = ModelRepository(tmp_path)
    assert {target.ref.version for _, target in made_by(repository, "m")} == {2}
    assert list(made_by(repository, "unknown")) == []


def test_source_that_is_wanted_is_named_where_several_versions_make_the_same_vectors(tmp_path: Path) -> None:
    today = publish(tmp_path)
    publish(tmp_path)
    repository = ModelRepository(tmp_path)
    assert vector_sources(repository, "m")[today].version == 2
    assert vector_sources(repository, "m", SourceFilter(version=1))[today].version == 1


MAKERS = {f"{version}-{precision}": VectorSource("m", version, precision, "exact") for version in (1, 2)
          for precision in ("fp32", "int8")}  # fmt: skip


def chosen(n_vectors: dict[str, int], **wanted: str) -> str:
    return chosen_identity("c", n_vectors, MAKERS, SourceFilter(**wanted))  # type: ignore[arg-type]


def test_most_vectors_win_then_the_newest_version() -> None:
    assert chosen({"1-fp32": 3, "2-int8": 2}) == "1-fp32"
    assert chosen({"1-int8": 2, "2-fp32": 2}) == "2-fp32"
    assert chosen({"2-fp32": 1, "2-int8": 2}, precision="fp32") == "2-fp32"
