"""Who gives way when all connections are taken."""

from dataclasses import dataclass

from diptych.http.crowd import SETTLED_S, SLOW_BYTES_PER_S, first_to_go, pace_of

NOW = 1000.0


@dataclass
class One:
    """A connection: silent since, or with a body of which `n_bytes` came in `seconds`, or busy."""

    since: float | None = None
    n_bytes: int = 0
    seconds: float | None = None

    def silent_since(self) -> float | None:
        return self.since

    def body_pace(self, now: float) -> float | None:
        assert now == NOW
        return None if self.seconds is None else pace_of(self.n_bytes, self.seconds)


BUSY = One()
FAST = One(n_bytes=int(SLOW_BYTES_PER_S * 60), seconds=60)
SLOW = One(n_bytes=60_000, seconds=60)


def test_longest_silent_goes_before_the_slowest_body() -> None:
    longest = One(since=NOW - 2 * SETTLED_S)
    assert first_to_go([BUSY, One(since=NOW - SETTLED_S), longest, SLOW], NOW) is longest


def test_slow_body_goes_before_one_whose_head_may_be_on_its_way() -> None:
    new = One(since=NOW - SETTLED_S / 2)
    assert first_to_go([new, SLOW, FAST], NOW) is SLOW
    assert first_to_go([new, FAST, BUSY], NOW) is new


def test_slowest_is_told_by_bytes_per_second_and_not_by_bytes_or_age() -> None:
    long_upload = One(n_bytes=1_200_000, seconds=60)
    begun = One(n_bytes=10_000, seconds=4)
    assert first_to_go([long_upload, begun, SLOW], NOW) is SLOW
    assert first_to_go([long_upload, begun], NOW) is begun


def test_body_whose_first_bytes_are_on_their_way_goes_after_those_that_drip() -> None:
    assert first_to_go([One(n_bytes=0, seconds=1), SLOW], NOW) is SLOW
    assert first_to_go([One(n_bytes=0, seconds=0)], NOW) is None


def test_bodies_that_keep_a_pace_and_requests_inside_stay() -> None:
    assert first_to_go([BUSY, FAST], NOW) is None
    assert first_to_go([], NOW) is None
