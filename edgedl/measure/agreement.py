"""Whether an engine computes what the artifact was proven to compute, before its speed is believed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact, golden_path
from edgedl.errors import EdgedlError
from edgedl.isolated import IsolatedSession
from edgedl.reference import TaskReference
from edgedl.spec import Array, Feeds
from edgedl.verify.parity import relative_rms

SAME = 0.01
"""Relative RMS up to which two engines or machines compute the same: their kernels differ."""
MOST_STEPS = 2
"""Steps by which rounded outputs differ between engines, or versions of one, that round in other places (tflite-runtime 2.14,
LiteRT 2.3 and tflite-micro were compared); one version computes the same bits on every machine."""
FAR = float(np.finfo(np.float32).max)
"""relative RMS of what cannot be compared: JSON has no infinity"""


def agreement(source: Artifact | TaskReference, session: IsolatedSession) -> tuple[float | None, float | None]:
    """(relative RMS of the worst output to the golden outputs of the artifact, the same in steps of their rounding).

    None where there are no golden outputs or they cannot be run; no steps where the outputs are not rounded.
    """
    if not isinstance(source, Artifact) or not golden_path(source.path).is_file():
        return None, None
    try:
        inputs, expected = source.golden()
        outputs = session.run(inputs)
    except EdgedlError:
        return None, None
    apart = worst(outputs, expected)
    return apart, None if apart == FAR else in_steps(outputs, expected, steps_of(source))


def steps_of(source: Artifact) -> Mapping[str, float]:
    """How finely the file rounds its outputs, by name; {} where its format tells nothing, or its exporter is not installed here."""
    try:
        exporter = registry.exporter(source.format)
    except EdgedlError:
        return {}
    return exporter.output_steps(source.path) if hasattr(exporter, "output_steps") else {}


def in_steps(outputs: Feeds, expected: Feeds, steps: Mapping[str, float]) -> float | None:
    """The worst; None unless every output has steps, as float outputs would go unseen."""
    if not steps.keys() >= expected.keys():
        return None
    return max(float(np.rint(max_abs(outputs[name], expected[name]) / steps[name])) for name in expected)


def max_abs(got: Array, want: Array) -> float:
    return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))


def worst(outputs: Feeds, expected: Feeds) -> float:
    """The worst relative RMS; FAR for an output that is missing, has another shape or is not finite where it should be."""
    if outputs.keys() != expected.keys() or any(outputs[name].shape != expected[name].shape for name in expected):
        return FAR
    found = max((relative_rms(outputs[name], expected[name]) for name in expected), default=0.0)
    return found if np.isfinite(found) else FAR
