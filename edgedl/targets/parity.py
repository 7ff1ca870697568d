"""Whether a target computes what this machine computes, from the same file and the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgedl.artifact import Artifact
from edgedl.errors import GateFailed
from edgedl.isolated import IsolatedSession
from edgedl.measure import HostParity, InputChoice, Subject
from edgedl.measure.agreement import FAR, MOST_STEPS, SAME, in_steps, max_abs, steps_of, worst
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
        return compare(outputs, expected, session.engine, steps_of(source))


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


def compare(outputs: Feeds, expected: Feeds, engine: str, steps: Mapping[str, float] = NO_STEPS) -> HostParity:
    """The worst output counts; a missing one, or one of another shape, is infinitely far away.

    steps: by name, for the outputs that are integers in the file, the difference of neighbouring values.
    """
    apart = worst(outputs, expected)
    if apart == FAR:
        return HostParity(FAR, FAR, False, engine)
    return HostParity(
        max(max_abs(outputs[name], expected[name]) for name in expected),
        apart,
        all(_exact(outputs[name], expected[name]) for name in expected),
        engine,
        in_steps(outputs, expected, steps),
    )


def _exact(got: Array, want: Array) -> bool:
    return got.dtype == want.dtype and got.tobytes() == want.tobytes()
