"""The model by which set-ups and the doctor see that an engine computes: sum = a + b, [1] float32 each."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed
from edgedl.runtime import Session


def sum_file(fmt: str) -> Artifact:
    """It, in a format that `edgedl/models/` has."""
    return Artifact(Path(str(files("edgedl") / "models" / f"sum.{fmt}")))


def check_sum(session: Session, who: str, remedy: str) -> None:
    """1 + 2 = 3; EngineFailed that says who computes something else, and the remedy, if not."""
    got = session.run({"a": np.array([1], np.float32), "b": np.array([2], np.float32)})["sum"].tolist()
    if got != [3.0]:
        raise EngineFailed(f"{who} computes 1 + 2 = {got}: {remedy}")
