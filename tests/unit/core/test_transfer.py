"""The source whose vectors of a collection are exported."""

from diptych.core.transfer import SourceFilter, VectorSource, chosen_identity

MAKERS = {f"{version}-{precision}": VectorSource("m", version, precision, "exact") for version in (1, 2)
          for precision in ("fp32", "int8")}  # fmt: skip


def chosen(n_vectors: dict[str, int], **wanted: str) -> str:
    return chosen_identity("c", n_vectors, MAKERS, SourceFilter(**wanted))  # type: ignore[arg-type]


def test_most_vectors_win_then_the_newest_version() -> None:
    assert chosen({"1-fp32": 3, "2-int8": 2}) == "1-fp32"
    assert chosen({"1-int8": 2, "2-fp32": 2}) == "2-fp32"
    assert chosen({"2-fp32": 1, "2-int8": 2}, precision="fp32") == "2-fp32"
