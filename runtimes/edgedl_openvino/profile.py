"""OpenVINO's own performance counters: what each node took, and the kernel that ran it (its precision is part of the name).

See openvino.ProfilingInfo. Times are whole microseconds; the average over many runs is finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgedl.artifact import Artifact
from edgedl.measure.profile import OperatorCost, Profile
from edgedl.runtime import Options, Source
from edgedl.spec import Feeds
from edgedl_openvino.session import OpenvinoSession

HOW = "OpenVINO's performance counters, in a run of its own"


def profile(source: Source, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int) -> Profile:
    """Every node that is executed, averaged over `runs`; the first run is left out."""
    assert isinstance(source, Artifact)
    session = OpenvinoSession(source, "cpu", threads, options, counters=True)
    taken = [_counted(session, sets[number % len(sets)]) for number in range(runs + 1)][1:]
    nanoseconds = {key: sum(one.get(key, 0.0) for one in taken) / runs for key in taken[0]}
    costs = tuple(OperatorCost(name, kind, ns, 0, 0, None) for (name, kind), ns in nanoseconds.items())
    return Profile(HOW, runs, sum(nanoseconds.values()), costs)


def _counted(session: OpenvinoSession, feeds: Feeds) -> dict[tuple[str, str], float]:
    """(node and kernel, kind) -> nanoseconds of one run."""
    session.run(feeds)
    return {
        (f"{info.node_name} [{info.exec_type}]", info.node_type): 1e9 * info.real_time.total_seconds()
        for info in session.counters()
        if _ran(info)
    }


def _ran(info: Any) -> bool:
    return bool(info.status == type(info.status).EXECUTED)
