"""Where a model runs and is measured: this machine, an emulated ARM64, a board, a prediction. `--target NAME[:DETAIL]`.

A kind of target is one object under the entry-point group `edgedl.targets`; the built-in ones use the same door. Importing
this loads numpy and no engine.
"""

from __future__ import annotations

from edgedl.targets.listing import Listed, listed
from edgedl.targets.parity import hold, host_parity
from edgedl.targets.resolve import find, kind_of
from edgedl.targets.target import Status, Target, TargetKind, Watch
from edgedl.targets.worker_target import WorkerTarget

__all__ = [
    "Listed", "Status", "Target", "TargetKind", "Watch", "WorkerTarget", "find", "hold", "host_parity", "kind_of", "listed",
]  # fmt: skip
