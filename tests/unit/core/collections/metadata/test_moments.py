from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.collections.metadata.moments import MAX_CHARS, moment_of

SECOND = 10**6
DAY = 24 * 3600 * SECOND


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("2024", 366 * DAY),
        ("2023", 365 * DAY),
        ("2024-02", 29 * DAY),
        ("9999-12", 31 * DAY),
        ("2024-02-29", DAY),
        ("0001-01-01", DAY),
        ("2024-05-01T10:11", 60 * SECOND),
        ("2024-05-01 10:11:12", SECOND),
        ("2024-05-01T10:11:12.5Z", SECOND // 10),
        ("2024-05-01T10:11:12.123456789+02:00", 1),
    ],
)
def test_text_stands_for_all_of_its_last_number(text: str, length: int) -> None:
    moment = moment_of(text)
    assert moment is not None
    assert moment.end - moment.start == length


@pytest.mark.parametrize(
    "text",
    (
        " 24 20240501 2024-5-1 2024-00 2024-13 2024-01-00 2024-02-30 0000-01-01 2024-05-01T24:00 2024-05-01Z"
        " 2024-05-01T10 2024-05-01T10:11:60 2024-05-01T10:11+24:00 2024-05-01T10:11:12. 12024-05-01 ٢٠٢٤"
        f" 2024-05-01T10:11-0200Z 2024:05:01 2024-05-01T10:11:12.{'1' * MAX_CHARS}"
    ).split(" "),
)
def test_other_text_names_no_moment(text: str) -> None:
    assert moment_of(text) is None


@given(st.datetimes(), st.sampled_from(["", "Z", "+05:30", "-0800"]))
def test_moment_is_that_of_datetime(when: datetime, offset: str) -> None:
    moment = moment_of(f"{when.isoformat()}{offset}")
    assert moment is not None
    assert datetime.min + timedelta(microseconds=moment.start) == when
    parsed = datetime.fromisoformat(f"{when.isoformat()}{offset}")
    away = parsed.utcoffset()
    assert moment.offset == (None if away is None else away // timedelta(microseconds=1))


def test_moments_with_offsets_are_compared_as_instants_others_by_local_time() -> None:
    here, utc = moment_of("2024-05-01T10:00:00+02:00"), moment_of("2024-05-01T08:00:00Z")
    local = moment_of("2024-05-01T10:00:00")
    assert here is not None and utc is not None and local is not None
    start, bound, end = here.against(utc)
    assert (start, end - bound) == (bound, SECOND)
    assert here.against(local)[:2] == (local.start, local.start)
    assert datetime.fromisoformat("2024-05-01T10:00:00+02:00") == datetime(2024, 5, 1, 8, tzinfo=UTC)
