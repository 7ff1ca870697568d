"""What set-ups keep between calls: one folder for each target, below the cache."""

from __future__ import annotations

import os
from pathlib import Path

from edgedl.datasets import cache

VARIABLE = "EDGEDL_TARGETS"
"""The environment variable that moves the folder"""


def folder(name: str) -> Path:
    """$EDGEDL_TARGETS/NAME, else ~/.cache/edgedl/targets/NAME; it need not exist."""
    given = os.environ.get(VARIABLE)
    return (Path(given) if given else cache() / "targets").absolute() / name
