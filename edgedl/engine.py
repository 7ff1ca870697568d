"""Where and how a training computes: Lightning Fabric, chosen by four words. It is loaded when a training starts."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgedl.errors import InvalidInput, Unavailable, UnknownName

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32", "16-mixed", "bf16-mixed")
STRATEGIES = ("auto", "ddp")


@dataclass(frozen=True)
class Engine:
    """device: `auto` is the GPU where torch sees one. precision: of the arithmetic; the weights stay float32.

    devices: how many; each batch is divided among them. strategy: how they work together; `auto` is `ddp` for several.
    UnknownName for other words, InvalidInput for what cannot go together.
    """

    device: str = "auto"
    precision: str = "32"
    devices: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        for kind, value, known in self._words():
            if value not in known:
                raise UnknownName(kind, value, known)
        if self.devices < 1:
            raise InvalidInput(f"devices={self.devices}: expected 1 or more")

    def _words(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        return (
            ("device", self.device, DEVICES),
            ("precision", self.precision, PRECISIONS),
            ("strategy", self.strategy, STRATEGIES),
        )

    def chosen(self) -> str:
        """`cpu` or `cuda`. Unavailable where there are too few; InvalidInput for a precision that the device has not."""
        import torch

        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        device = self.device if self.device != "auto" else "cuda" if there else "cpu"
        if device == "cuda" and there < self.devices:
            raise Unavailable(f"{self._wanted()}: {_seen(there)}; choose --device cpu{' or fewer' if there else ''}")
        if device == "cpu" and self.precision == "16-mixed":
            raise InvalidInput("precision 16-mixed needs a GPU: on a processor choose bf16-mixed or 32")
        return device

    def _wanted(self) -> str:
        return "--device cuda" if self.devices == 1 else f"--device cuda --devices {self.devices}"

    def fabric(self) -> Fabric:
        """The engine, not launched yet."""
        device = self.chosen()
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        precision: Any = self.precision if self.precision != "32" else "32-true"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Fabric(accelerator=device, devices=self.devices, strategy=self.strategy, precision=precision)


def is_helper() -> bool:
    """Whether this process is one that the engine started beside the first: it computes, and writes and tells nothing."""
    import torch.distributed as group

    return group.is_available() and group.is_initialized() and group.get_rank() > 0


def _seen(there: int) -> str:
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch sees {there} GPU{'s' * (there != 1)}"
