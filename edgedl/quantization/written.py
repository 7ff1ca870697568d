"""How a quantized file was written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgedl.exporter import FloatRegion, QuantizationOptions


@dataclass(frozen=True)
class Written:
    """options: with what AUTO came to. in_float: what stays in float unasked."""

    options: QuantizationOptions
    in_float: tuple[FloatRegion, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As the manifest's provenance tells it."""
        regions = [asdict(region) for region in self.in_float]
        return {"options": asdict(self.options), **({"in_float": regions} if regions else {})}
