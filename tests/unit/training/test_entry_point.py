"""What `diptych-train` sets before it loads torch."""

import os
import sys

import pytest

from diptych_training.__main__ import main


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_do_not_spin_unless_the_user_says_so(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")  # restored afterwards
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(sys, "argv", ["diptych-train", "--version"])

    with pytest.raises(SystemExit):
        main()

    assert os.environ["OMP_WAIT_POLICY"] == used
