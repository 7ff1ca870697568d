"""`--target local`: this machine, and what is used where no target is named."""

from __future__ import annotations

from edgedl.errors import InvalidInput
from edgedl.place import HERE
from edgedl.targets.target import Target, TargetKind
from edgedl.targets.worker_target import WorkerTarget


class LocalKind(TargetKind):
    """This machine as it is."""

    name = "local"
    summary = "this machine"
    example = "local"

    def open(self, detail: str) -> Target:
        if detail:
            raise InvalidInput(f"--target local:{detail}: expected local alone")
        return WorkerTarget(HERE)


kind = LocalKind()
