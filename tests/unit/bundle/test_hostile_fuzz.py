"""Damaged files at random: all end in pixels or in an InputError, and no decoder dies."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from support.hostile.fuzzing import Findings, fuzz
from support.hostile.mutations import FORMATS, HEIC, mutated

N_LONG = 100_000
N_SHORT = 2_000
MAX_PEAK_BYTES = 500_000_000  # 90 MB were seen; pictures have at most a million pixels here


def check(findings: Findings, n_files: int, formats: Sequence[str] = FORMATS) -> None:
    assert findings.failures == []
    assert findings.n_files == n_files
    print(findings.table())
    for form in formats:
        n_form = sum(n for (of, _), n in findings.outcomes.items() if of == form)
        assert findings.reached[form] >= n_form / 5, f"{form}: too few reach the pixels\n{findings.table()}"
        assert findings.outcomes[form, "pixels"] > 0
    assert findings.peak_bytes < MAX_PEAK_BYTES


def test_damaged_files_end_in_pixels_or_in_an_input_error() -> None:
    check(fuzz(0, N_SHORT), N_SHORT)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_damaged_files_end_in_pixels_or_in_an_input_error() -> None:
    check(fuzz(N_SHORT, N_SHORT + N_LONG), N_LONG)


def test_damaged_heic_files_end_in_pixels_or_in_an_input_error() -> None:
    check(fuzz(0, N_SHORT // 4, formats=[HEIC]), N_SHORT // 4, [HEIC])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_thousand_damaged_heic_files_end_in_pixels_or_in_an_input_error() -> None:
    check(fuzz(N_SHORT, N_SHORT + N_LONG // 5, formats=[HEIC]), N_LONG // 5, [HEIC])


def test_damage_is_the_same_for_the_same_seed() -> None:
    assert [mutated(seed) for seed in range(70)] == [mutated(seed) for seed in range(70)]


def test_process_that_dies_or_hangs_names_its_seed_and_the_rest_goes_on(tmp_path: Path) -> None:
    program = tmp_path / "planted.py"
    program.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from support.hostile import fuzzing\n"
        "seeds = iter(range(int(sys.argv[2]), 100))\n"
        "def outcome(file):\n"
        "    seed = next(seeds)\n"
        "    if seed == 5: os.abort()\n"
        "    if seed == 8: time.sleep(60)\n"
        "    if seed == 11: raise KeyError('planted')\n"
        "    return 'pixels', True\n"
        "fuzzing.outcome, fuzzing.STEP = outcome, 1\n"
        "fuzzing.child(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))\n"
    )
    findings = fuzz(0, 14, program=[str(program)], hangs_after_s=3)
    died, hung, failed = findings.failures
    assert died.startswith("seed 5: process ended with -6")
    assert hung == "seed 8: hangs"
    assert failed.startswith("seed 11, ")
    assert "planted" in failed
    assert (findings.n_files, findings.outcomes.total(), findings.reached.total()) == (12, 12, 11)
