"""torch's own profiler: what each operator that the module calls takes, with all that it calls in turn.

https://docs.pytorch.org/docs/stable/profiler.html. Multiply-accumulates are half of the operations that torch counts, which are those of
matrix products and convolutions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from torch.profiler import ProfilerActivity
from torch.profiler import profile as recording

from edgedl.errors import Unsupported
from edgedl.group_session import GroupSession
from edgedl.measure.profile import OperatorCost, Profile
from edgedl.runtime import Options, Session, Source
from edgedl.spec import Feeds
from edgedl_torch.session import open_session

_ELEMENTWISE = ("aten::add", "aten::mul")
"""which torch counts too, and which multiply no matrices"""
HOW = "torch's profiler, in a run of its own"


def profile(
    source: Source, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int
) -> Profile:
    """The operators that are called from Python, in their order, averaged over `runs`; Unsupported on a GPU and of a decode loop."""
    session = open_session(source, device, threads, options)
    if device != "cpu" or isinstance(session, GroupSession):
        raise Unsupported("torch's operators are profiled on the CPU, and of a single module")
    session.run(sets[0])
    traces = [_trace(session, sets[number % len(sets)]) for number in range(runs)]
    alike = [events for events in traces if len(events) == len(traces[0])]
    costs = tuple(_cost(number, [events[number] for events in alike]) for number in range(len(traces[0])))
    return Profile(HOW, len(alike), _whole(session, sets, runs), costs)


def _trace(session: Session, feeds: Feeds) -> list[Any]:
    """The operators of one run that no other operator called."""
    with recording(activities=[ProfilerActivity.CPU], with_flops=True) as told:
        session.run(feeds)
    return [event for event in told.events() if event.cpu_parent is None and event.name.startswith("aten::")]


def _cost(number: int, events: list[Any]) -> OperatorCost:
    name = events[0].name.removeprefix("aten::")
    macs = (
        sum(event.flops or 0 for event in [events[0], *events[0].cpu_children] if event.name not in _ELEMENTWISE) // 2
    )
    ns = 1e3 * sum(event.cpu_time_total for event in events) / len(events)
    return OperatorCost(f"{number} {name}", name, ns, 0, 0, macs or None)


def _whole(session: Session, sets: Sequence[Feeds], runs: int) -> float:
    began = time.perf_counter_ns()
    for number in range(runs):
        session.run(sets[number % len(sets)])
    return (time.perf_counter_ns() - began) / runs
