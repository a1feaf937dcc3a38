from diptych.core.log_throttle import QUIET_S, Episodes


def test_an_episode_begins_once_and_anew_after_it_was_quiet() -> None:
    now = [0.0]
    episodes = Episodes(clock=lambda: now[0])
    assert episodes.begins("full")
    for _ in range(3):  # it goes on for as long as it is never quiet
        now[0] += QUIET_S
        assert not episodes.begins("full")
    assert episodes.begins("read-only"), "another kind has episodes of its own"
    now[0] += QUIET_S + 1
    assert episodes.begins("full")
    assert not episodes.begins("full")
