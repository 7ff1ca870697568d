"""How the default run is spread over its processes: a file of tests at a time, as its tests share what they make.

pytest-xdist's `loadgroup` would do, but groups nothing under pytest 9.2 (pytest-xdist issue 1386), without a word.
"""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

LONGEST = ("conformance", "e2e", "cli", "packaging", "unit")
"""folders of tests, in the order of their longest piece: at the end, one process waits for the other's last piece"""
APART = ("test_documentation.py", "test_zoo_slow.py")
"""files whose tests are long and share nothing"""


class ByFile(LoadScopeScheduling):
    """pytest-xdist's scheduler of pieces."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)


def piece(test: str) -> str:
    """What runs in one process with this test."""
    file = test.partition("::")[0]
    return test if Path(file).name in APART else file


def turn(test: str) -> int:
    """When a test starts."""
    folder = Path(test.partition("::")[0]).parent.name
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)
