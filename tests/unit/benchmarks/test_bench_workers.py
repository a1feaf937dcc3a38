import io
import json
import sys

import pytest

from benchmarks.serving.workers import answer, ask


def test_what_a_worker_complains_of_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match=r"decoding: (.|\n)*TypeError"):
        ask("decoding", nothing_like_this=1)


def test_calls_are_answered_line_by_line_and_what_is_printed_in_between_is_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, results, rest = io.StringIO('{"number": 1}\n{"number": 2}\n'), io.StringIO(), io.StringIO()

    def doubled(number: int) -> int:
        print("at work")
        return 2 * number

    monkeypatch.setattr(sys, "stdin", calls)
    monkeypatch.setattr(sys, "stdout", results)
    monkeypatch.setattr(sys, "stderr", rest)
    answer(doubled)
    assert [json.loads(line) for line in results.getvalue().splitlines()] == [2, 4]
    assert rest.getvalue() == "at work\nat work\n"
