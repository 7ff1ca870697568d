"""How a module is run: device, precision, compiled or eager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from edgedl.errors import InvalidInput, Unavailable, UnknownName
from edgedl.runtime import Options, option_value

_DTYPES = {"fp32": None, "tf32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
_SWITCH = {"0": False, "1": True}


@dataclass(frozen=True)
class Settings:
    """dtype: in which the module computes, None for its own. transfers: whether each run copies inputs and outputs."""

    device: str
    dtype: torch.dtype | None
    precision: str
    compiled: bool
    transfers: bool

    @property
    def engine(self) -> str:
        """`torch 2.13.0, fp16, compiled`."""
        told = [self.precision] if self.precision != "fp32" else []
        return ", ".join([f"torch {torch.__version__}", *told, *(["compiled"] if self.compiled else [])])

    def apply(self, module: torch.nn.Module) -> Any:
        """The module on its device, in its precision."""
        if self.device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        moved = module.to(self.device, self.dtype) if self.dtype else module.to(self.device)
        return torch.compile(moved) if self.compiled else moved


def settings(device: str, options: Options) -> Settings:
    """UnknownName for a device or value, Unavailable where there is no GPU, InvalidInput for a GPU's option elsewhere."""
    if device not in ("cpu", "cuda"):
        raise UnknownName("device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise Unavailable("device 'cuda' is not here: torch sees no GPU")
    precision = options.get("precision", "fp32")
    if device == "cpu" and ("transfers" in options or precision == "tf32"):
        raise InvalidInput(
            f"option {'transfers' if 'transfers' in options else 'precision=tf32'}: it is for --device cuda"
        )
    return Settings(
        device,
        option_value(options, "precision", _DTYPES, "fp32"),
        precision,
        option_value(options, "compile", _SWITCH, "0"),
        option_value(options, "transfers", _SWITCH, "1"),
    )
