"""Whether a target computes what this machine computes, from the same file and the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, GateFailed
from edgedl.isolated import IsolatedSession
from edgedl.measure import HostParity, InputChoice, Subject
from edgedl.measure.agreement import FAR, MOST_STEPS, SAME, worst
from edgedl.measure.summary import error_told, same
from edgedl.spec import Array, Feeds
from edgedl.targets.target import Target

NO_STEPS: Mapping[str, float] = MappingProxyType({})


def host_parity(source: Artifact, feeds: Feeds, outputs: Feeds, runtime: str = "auto") -> HostParity:
    """`outputs` (by name, from the target) against a run of `feeds` here.

    int8 kernels are bit-exact across architectures for one engine version; float sums are ordered by the width of the
    registers, which costs the last bits. Another version rounds in other places (see edgedl.measure.summary.same).
    """
    with IsolatedSession(source, runtime, threads=1) as session:
        expected = session.run(feeds)
        return compare(outputs, expected, session.engine, _steps(source))


def hold(target: Target, source: Artifact, runtime: str = "auto") -> HostParity:
    """The golden inputs, or seeded ones, on `target` and here; GateFailed where the outputs are not the same.

    They are the same to one percent, or, of another engine version, to two steps of quantized outputs.
    """
    with target.session(source, runtime, threads=1) as session:
        subject = Subject(source.path.name, source, runtime)
        feeds = InputChoice([subject])(subject, session.inputs).feeds
        parity = host_parity(source, feeds, session.run(feeds), runtime)
    if not same(parity, session.engine):
        expected = f"{SAME:g}, or {MOST_STEPS} steps between two engines" if parity.steps is not None else f"{SAME:g}"
        apart = f"{error_told(parity)}, expected at most {expected}"
        raise GateFailed(f"{source.path} on {target.name} computes something else than here: {apart}")
    return parity


def _steps(source: Artifact) -> Mapping[str, float]:
    """How finely the file rounds its outputs; {} where its format tells nothing, or its exporter is not installed here."""
    try:
        exporter = registry.exporter(source.format)
    except EdgedlError:
        return {}
    return exporter.output_steps(source.path) if hasattr(exporter, "output_steps") else {}


def compare(outputs: Feeds, expected: Feeds, engine: str, steps: Mapping[str, float] = NO_STEPS) -> HostParity:
    """The worst output counts; a missing one, or one of another shape, is infinitely far away.

    steps: by name, for the outputs that are integers in the file, the difference of neighbouring values.
    """
    apart = worst(outputs, expected)
    if apart == FAR:
        return HostParity(FAR, FAR, False, engine)
    return HostParity(
        max(_max_abs(outputs[name], expected[name]) for name in expected),
        apart,
        all(_exact(outputs[name], expected[name]) for name in expected),
        engine,
        _in_steps(outputs, expected, steps),
    )


def _in_steps(outputs: Feeds, expected: Feeds, steps: Mapping[str, float]) -> float | None:
    """The worst; None unless every output has steps, as float outputs would go unseen."""
    if not steps.keys() >= expected.keys():
        return None
    return max(float(np.rint(_max_abs(outputs[name], expected[name]) / steps[name])) for name in expected)


def _max_abs(got: Array, want: Array) -> float:
    return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))


def _exact(got: Array, want: Array) -> bool:
    return got.dtype == want.dtype and got.tobytes() == want.tobytes()
