"""Which processors a round may be moved to."""

from __future__ import annotations

import os
from pathlib import Path

from edgedl.measure.processors import fast, of_round, speeds
from edgedl.worker import move


def test_the_small_cores_are_left_out() -> None:
    assert fast({0: 446.0, 1: 446.0, 4: 1024.0, 5: 1024.0, 7: 950.0}) == (4, 5, 7)
    assert fast({0: 1.0, 3: 1.0}) == (0, 3)
    assert fast({}) == ()


def test_the_speeds_are_linux_s_own(tmp_path: Path) -> None:
    numbers = sorted(os.sched_getaffinity(0))
    assert speeds(tmp_path) == dict.fromkeys(numbers, 1.0)
    (tmp_path / f"cpu{numbers[0]}" / "cpufreq").mkdir(parents=True)
    (tmp_path / f"cpu{numbers[0]}" / "cpufreq" / "cpuinfo_max_freq").write_text("2400000\n")
    assert speeds(tmp_path)[numbers[0]] == 2400000


def test_a_round_has_one_processor_and_another_round_may_have_another() -> None:
    drawn = [of_round(number, 0) for number in range(64)]
    assert drawn == [of_round(number, 0) for number in range(64)]
    assert set(drawn) <= set(fast(speeds()))
    assert len(set(drawn)) >= min(2, len(fast(speeds())))


def test_all_threads_are_moved() -> None:
    before = os.sched_getaffinity(0)
    try:
        move(min(before))
        threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
        assert [os.sched_getaffinity(thread) for thread in threads] == [{min(before)}] * len(threads)
    finally:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), before)
