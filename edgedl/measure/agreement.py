"""Whether an engine computes what the artifact was proven to compute, before its speed is believed."""

from __future__ import annotations

import numpy as np

from edgedl.artifact import Artifact, golden_path
from edgedl.errors import EdgedlError
from edgedl.isolated import IsolatedSession
from edgedl.reference import TaskReference
from edgedl.spec import Feeds
from edgedl.verify.parity import relative_rms

SAME = 0.01
"""Relative RMS up to which two engines or machines compute the same: their kernels differ."""
MOST_STEPS = 2
"""Steps by which rounded outputs differ between engines, or versions of one, that round in other places (tflite-runtime 2.14,
LiteRT 2.3 and tflite-micro were compared); one version computes the same bits on every machine."""
FAR = float(np.finfo(np.float32).max)
"""relative RMS of what cannot be compared: JSON has no infinity"""


def agreement(source: Artifact | TaskReference, session: IsolatedSession) -> float | None:
    """Relative RMS of the worst output to the golden outputs of the artifact; None where there are none or they cannot be run."""
    if not isinstance(source, Artifact) or not golden_path(source.path).is_file():
        return None
    try:
        inputs, expected = source.golden()
        return worst(session.run(inputs), expected)
    except EdgedlError:
        return None


def worst(outputs: Feeds, expected: Feeds) -> float:
    """The worst relative RMS; FAR for an output that is missing, has another shape or is not finite where it should be."""
    if outputs.keys() != expected.keys() or any(outputs[name].shape != expected[name].shape for name in expected):
        return FAR
    found = max((relative_rms(outputs[name], expected[name]) for name in expected), default=0.0)
    return found if np.isfinite(found) else FAR
