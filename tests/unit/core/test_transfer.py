"""The source whose vectors of a collection are exported."""

from diptych.core.transfer import SourceFilter, VectorSource, chosen_identity
from diptych.core.types import SERVER

MAKERS = {f"{version}-{precision}": VectorSource("m", version, precision, "exact") for version in (1, 2)
          for precision in ("fp32", "int8")}  # fmt: skip


def chosen(n_vectors: dict[str, int], own: str = SERVER, **wanted: str) -> str:
    return chosen_identity("c", n_vectors, MAKERS, SourceFilter(**wanted), own=own)  # type: ignore[arg-type]


def test_most_vectors_win_then_the_newest_version_then_the_precision_of_the_collection() -> None:
    assert chosen({"1-fp32": 3, "2-int8": 2}, own="int8") == "1-fp32"
    assert chosen({"1-int8": 2, "2-fp32": 2}, own="int8") == "2-fp32"
    for own in ("fp32", "int8"):
        assert chosen({"2-fp32": 2, "2-int8": 2}, own=own) == f"2-{own}"
        assert chosen({"2-int8": 2, "2-fp32": 2}, own=own) == f"2-{own}"
    assert chosen({"2-fp32": 2, "2-int8": 2}, own="int8", precision="fp32") == "2-fp32"
