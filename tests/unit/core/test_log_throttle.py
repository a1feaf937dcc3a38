from diptych.core.log_throttle import QUIET_S, LogThrottle


def test_repeated_event_is_logged_once_and_again_after_a_quiet_time() -> None:
    now = [0.0]
    throttle = LogThrottle(clock=lambda: now[0])
    assert throttle.should_log("full")
    for _ in range(3):  # it goes on for as long as it is never quiet
        now[0] += QUIET_S
        assert not throttle.should_log("full")
    assert throttle.should_log("read-only"), "another kind has episodes of its own"
    now[0] += QUIET_S + 1
    assert throttle.should_log("full")
    assert not throttle.should_log("full")
