"""Numbers of bytes as people write and read them."""

from __future__ import annotations

import math
import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)(i?)B?", re.IGNORECASE)


def parse_size(text: str) -> float | None:
    """`200kB`, `1.5MB`, `64KiB` or a number of bytes; None for anything else."""
    match = _SIZE.fullmatch(text) if text.isascii() else None
    if not match:
        return None
    base = 1024.0 if match[3] else 1000.0
    return float(match[1]) * math.pow(base, ("", "k", "m", "g").index(match[2].lower()))


def size(count: float) -> str:
    """Bytes as people read them: decimal units, three digits."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB" if count < 999.5 else f"{count:.0f} GB"
