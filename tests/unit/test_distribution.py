from __future__ import annotations

import os

import pytest

from distribution import piece, turn


@pytest.mark.parametrize("number", range(5))
def test_the_tests_of_a_file_run_in_one_process(
    number: int, testrun_uid: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each leaves the number of its process where the others see it."""
    seen = tmp_path_factory.getbasetemp().parent / f"processes-{testrun_uid}"
    seen.mkdir(exist_ok=True)
    (seen / str(os.getpid())).touch()
    assert [path.name for path in seen.iterdir()] == [str(os.getpid())]


def test_a_page_of_the_documentation_is_a_piece() -> None:
    page, other = (f"tests/e2e/test_documentation.py::test_every_block_runs[{name}.md]" for name in ("prune", "train"))
    assert piece(page) != piece(other)
    assert piece("tests/unit/test_spec.py::test_a[1]") == piece("tests/unit/test_spec.py::test_b") != piece(page)


def test_long_files_start_first() -> None:
    tests = [f"tests/{folder}/test_x.py::test_y" for folder in ("conformance", "cli", "unit", "another")]
    assert sorted([tests[number] for number in (2, 0, 3, 1)], key=turn) == tests
