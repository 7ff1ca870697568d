"""Eager torch as an edgedl runtime: the reference that the others are held against."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgedl.runtime import NO_OPTIONS, Options, Session, Source

if TYPE_CHECKING:
    from edgedl.measure.profile import Profile
    from edgedl.spec import Feeds


class TorchRuntime:
    """Runs a task reference as it is. device: `cpu` or `cuda`."""

    name = "torch"
    formats = frozenset({"torch"})
    requires = ("torch",)
    extra = "train"
    options: Options = MappingProxyType(
        {
            "precision": "fp32 (default), bf16 or fp16; tf32 on a GPU",
            "compile": "0 (default) or 1: torch.compile, for which a C++ compiler or Triton has to be there",
            "transfers": "on a GPU: 1 (default) or 0: whether each run copies inputs and outputs",
        }
    )

    def load(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> Session:
        from edgedl_torch.session import open_session

        return open_session(source, device, threads, options)

    def profile(
        self, source: Source, device: str, threads: int | None, options: Options, sets: Sequence[Feeds], runs: int
    ) -> Profile:
        from edgedl_torch.profile import profile

        return profile(source, device, threads, options, sets, runs)


runtime = TorchRuntime()
