"""The place of a confined worker, and the target."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgedl.errors import EdgedlError, EngineFailed, Unavailable, Unsupported
from edgedl.measure import FeedsOf, Measured, Plan, Subject
from edgedl.place import HERE, Launch
from edgedl.runtime import Source
from edgedl.sizes import size
from edgedl.targets.limits import confined
from edgedl.targets.limits.cgroup import Parent, bandwidth, groups, parents
from edgedl.targets.limits.device_class import DeviceClass
from edgedl.targets.mean import mean_of
from edgedl.targets.worker_target import WorkerTarget

_COUNTED = (
    "Against the memory count Python, numpy, the engine and the model; files that the system can read again do not, nor does "
    "telling what is installed"
)


class Confined:
    """This machine, with less of it. Unavailable for a quota where no control group can be made."""

    here = True

    def __init__(self, name: str, limits: DeviceClass) -> None:
        self.name, self.limits = name, limits

    @property
    def wanted(self) -> frozenset[str]:
        """The controllers that the limits need."""
        asked = {"memory": self.limits.memory, "cpu": self.limits.quota}
        return frozenset(name for name, value in asked.items() if value is not None)

    def places(self) -> tuple[Parent, ...]:
        """Where the groups are made; () where memory is watched instead, or nothing needs a group."""
        found = parents(self.wanted)
        if not found and self.limits.quota is not None:
            raise Unavailable(
                f"target {self.name!r}: a quota needs control groups, and none can be made here: "
                "leave quota out, or run as root outside of a container"
            )
        return found

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        with HERE.launch(source) as here, groups(self.limits, self.places()) as made:
            kills = [str(group / p.kills) for group, p in made.items() if "memory" in p.controllers]
            order = {
                "join": [str(group / "cgroup.procs") for group in made],
                "processors": self.limits.processors,
                "kills": kills[0] if kills else None,
                "watch": None if kills else self.limits.memory,
            }
            script = (sys.executable, "-I", str(Path(confined.__file__)), json.dumps(order))
            yield replace(here, command=(*script, *here.command))

    def failure(self, code: int, said: str) -> EdgedlError | None:
        if code != confined.OVER or self.limits.memory is None:
            return None
        return EngineFailed(f"needed more than {size(self.limits.memory)} and was killed")

    def bound_by(self) -> str:
        """Which mechanism holds which limit."""
        versions = {name: f"cgroup v{p.version}" for p in self.places() for name in p.controllers}
        period = f" (period {bandwidth(self.limits)[1] / 1000:g} ms)"
        told = {
            "cpus": "processor affinity" if self.limits.cpus else None,
            "quota": f"{versions['cpu']}{period}" if self.limits.quota else None,
            "memory": versions.get("memory", "a watchdog on anonymous memory") if self.limits.memory else None,
        }
        return ", ".join(f"{name} by {by}" for name, by in told.items() if by)


class ConfinedTarget(WorkerTarget):
    """A device class."""

    place: Confined

    def __init__(self, place: Confined) -> None:
        super().__init__(place)

    def refuse(self, subjects: Sequence[Subject], plan: Plan) -> None:
        """What would get around the limits: several processes at once, and processors by number."""
        if plan.streams > 1:
            raise Unsupported(f"{self.name} is for one process, not for {plan.streams}: leave --mode throughput out")
        if self.place.limits.cpus and any(subject.affinity for subject in subjects):
            raise Unsupported(f"{self.name} chooses the processors itself: leave --affinity out")

    def told(self, subject: Subject, found: Measured, feeds_of: FeedsOf, plan: Plan) -> Measured:
        notes = [f"{self.name}: {self.place.bound_by()}", *([_COUNTED] if self.place.limits.memory else [])]
        quota = self.place.limits.quota
        if quota is None or not found.rounds:
            return replace(found, notes=tuple(notes))
        slice_ms = bandwidth(self.place.limits)[0] / 1000
        notes.append(
            f"A run that fits into its slice of {slice_ms:g} ms is not slowed by itself: the mean holds the quota"
        )
        return replace(found, notes=tuple(notes), quota=quota, figures=(mean_of(found),))


def mechanisms() -> str:
    """What holds the limits on this machine, for the list of targets."""
    found = {name: parents(frozenset([name])) for name in ("memory", "cpu")}
    memory = f"cgroup v{found['memory'][0].version}" if found["memory"] else "a watchdog"
    quota = f"cgroup v{found['cpu'][0].version}" if found["cpu"] else "nothing: no control group can be made here"
    return f"cpus by affinity, memory by {memory}, quota by {quota}"
