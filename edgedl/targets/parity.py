"""Whether a target computes what this machine computes, from the same file and the same inputs."""

from __future__ import annotations

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import GateFailed
from edgedl.isolated import IsolatedSession
from edgedl.measure import HostParity, InputChoice, Subject
from edgedl.measure.agreement import FAR, SAME, worst
from edgedl.spec import Array, Feeds
from edgedl.targets.target import Target


def host_parity(source: Artifact, feeds: Feeds, outputs: Feeds, runtime: str = "auto") -> HostParity:
    """`outputs` (by name, from the target) against a run of `feeds` here.

    int8 kernels are bit-exact across architectures for one engine version; float sums are ordered by the width of the
    registers, which costs the last bits.
    """
    with IsolatedSession(source, runtime, threads=1) as session:
        expected = session.run(feeds)
        return compare(outputs, expected, session.engine)


def hold(target: Target, source: Artifact, runtime: str = "auto") -> HostParity:
    """The golden inputs, or seeded ones, on `target` and here; GateFailed where the outputs are not the same to one percent."""
    with target.session(source, runtime, threads=1) as session:
        subject = Subject(source.path.name, source, runtime)
        feeds = InputChoice([subject])(subject, session.inputs).feeds
        parity = host_parity(source, feeds, session.run(feeds), runtime)
    if parity.relative_rms > SAME:
        apart = f"relative RMS error {parity.relative_rms:.2g}, expected at most {SAME:g}"
        raise GateFailed(f"{source.path} on {target.name} computes something else than here: {apart}")
    return parity


def compare(outputs: Feeds, expected: Feeds, engine: str) -> HostParity:
    """The worst output counts; a missing one, or one of another shape, is infinitely far away."""
    apart = worst(outputs, expected)
    if apart == FAR:
        return HostParity(FAR, FAR, False, engine)
    return HostParity(
        max(_max_abs(outputs[name], expected[name]) for name in expected),
        apart,
        all(_exact(outputs[name], expected[name]) for name in expected),
        engine,
    )


def _max_abs(got: Array, want: Array) -> float:
    return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))


def _exact(got: Array, want: Array) -> bool:
    return got.dtype == want.dtype and got.tobytes() == want.tobytes()
