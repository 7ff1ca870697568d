"""Eager torch as an edgedl runtime: the reference that the others are held against."""

from __future__ import annotations

from edgedl.runtime import Session, Source


class TorchRuntime:
    """Runs a task reference as it is. device: `cpu` or `cuda`."""

    name = "torch"
    formats = frozenset({"torch"})
    requires = ("torch",)
    extra = "train"

    def load(self, source: Source, device: str, threads: int | None) -> Session:
        from edgedl_torch.session import open_session

        return open_session(source, device, threads)


runtime = TorchRuntime()
