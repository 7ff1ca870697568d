"""Whether a target computes what this machine computes, from the same file and the same inputs."""

from __future__ import annotations

import numpy as np

from edgedl.artifact import Artifact
from edgedl.isolated import IsolatedSession
from edgedl.measure import HostParity
from edgedl.spec import Array, Feeds
from edgedl.verify.parity import relative_rms


def host_parity(source: Artifact, feeds: Feeds, outputs: Feeds, runtime: str = "auto") -> HostParity:
    """`outputs` (by name, from the target) against a run of `feeds` here.

    int8 kernels are bit-exact across architectures for one engine version; float sums are ordered by the width of the
    registers, which costs the last bits.
    """
    with IsolatedSession(source, runtime, threads=1) as session:
        expected = session.run(feeds)
        return compare(outputs, expected, session.engine)


def compare(outputs: Feeds, expected: Feeds, engine: str) -> HostParity:
    """The worst output counts; a missing one, or one of another shape, is infinitely far away."""
    if outputs.keys() != expected.keys() or any(outputs[n].shape != expected[n].shape for n in expected):
        return HostParity(float(np.finfo(np.float32).max), float(np.finfo(np.float32).max), False, engine)
    return HostParity(
        max(_max_abs(outputs[name], expected[name]) for name in expected),
        max(relative_rms(outputs[name], expected[name]) for name in expected),
        all(_exact(outputs[name], expected[name]) for name in expected),
        engine,
    )


def _max_abs(got: Array, want: Array) -> float:
    return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))


def _exact(got: Array, want: Array) -> bool:
    return got.dtype == want.dtype and got.tobytes() == want.tobytes()
