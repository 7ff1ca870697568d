"""`--target local`: this machine, and what is used where no target is named; `local:memory=64MB` is less of it."""

from __future__ import annotations

import sys

from edgedl.errors import Unavailable
from edgedl.place import HERE
from edgedl.targets.target import Status, Target, TargetKind
from edgedl.targets.worker_target import WorkerTarget


class LocalKind(TargetKind):
    """This machine as it is, or a device class on it."""

    name = "local"
    summary = "this machine, or with limits: local:cpus=1,quota=25%,memory=64MB"
    example = "local"

    def open(self, detail: str) -> Target:
        if not detail:
            return WorkerTarget(HERE)
        if sys.platform != "linux":
            raise Unavailable(
                f"--target local:{detail}: limits need Linux, this is {sys.platform}; local alone is possible"
            )
        from edgedl.targets.limits.device_class import parse
        from edgedl.targets.limits.target import Confined, ConfinedTarget

        return ConfinedTarget(Confined(f"local:{detail}", parse(detail)))

    def status(self) -> Status:
        if sys.platform != "linux":
            return Status("ready", "limits need Linux")
        from edgedl.targets.limits.target import mechanisms

        return Status("ready", f"limits: {mechanisms()}")


kind = LocalKind()
