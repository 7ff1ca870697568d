"""Numbers as people read them: three significant digits, one unit for a figure and its interval."""

from __future__ import annotations

from edgedl.measure.statistics import Estimate

NONE = "-"
_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_JOULES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"))
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def duration(nanoseconds: float | None) -> str:
    """`9.02 µs`, `1.20 ms`."""
    return NONE if nanoseconds is None else _scaled(nanoseconds, _TIMES)


def tick(nanoseconds: float) -> str:
    """As short as it can be: `50 µs`."""
    scale, unit = _unit(nanoseconds, _TIMES)
    return f"{nanoseconds / scale:.3g} {unit}" if nanoseconds else "0"


def size(count: float | None) -> str:
    """`46.2 kB`, of 1000 bytes each."""
    return NONE if count is None else _scaled(count, _BYTES)


def energy(joules: float) -> str:
    """`12.3 µJ`; below zero where the work could not be told from the idle machine."""
    scale, unit = _unit(abs(joules), _JOULES)
    return f"{joules / scale:.{_places(abs(joules) / scale)}f} {unit}"


def spread(estimate: Estimate) -> str:
    """`9.02 µs [8.86, 9.18]`: a duration in nanoseconds and its interval, in one unit."""
    scale, unit = _unit(estimate.value, _TIMES)
    places = _places(estimate.value / scale)
    low, high = (f"{bound / scale:.{places}f}" for bound in (estimate.low, estimate.high))
    return f"{estimate.value / scale:.{places}f} {unit} [{low}, {high}]"


def rate(estimate: Estimate) -> str:
    """`1240 [1190, 1260]`, a second."""
    places = _places(estimate.value)
    return f"{estimate.value:.{places}f} [{estimate.low:.{places}f}, {estimate.high:.{places}f}]"


def number(value: float | None, places: int = 3) -> str:
    """A fixed number of decimals, without a minus before zero."""
    return NONE if value is None else f"{value:.{places}f}".replace(f"-{0:.{places}f}", f"{0:.{places}f}")


def short(value: float | None) -> str:
    """Two significant digits: `0.012`, `3.1e-07`."""
    return NONE if value is None else f"{value:.2g}"


def times(value: float | None) -> str:
    """`3.6x`."""
    return NONE if value is None else f"{value:.2f}x" if value < 2 else f"{value:.1f}x"


def cut(words: str, longest: int) -> str:
    """Shortened in the middle: the ends of names tell them apart."""
    if len(words) <= longest:
        return words
    tail = longest * 2 // 3
    return f"{words[: longest - tail - 1]}…{words[-tail:]}"


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    scale, unit = _unit(value, units)
    return f"{value / scale:.{_places(value / scale) if scale > 1 else 0}f} {unit}"


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    return next((entry for entry in units if value >= entry[0] * 0.9995), units[-1])


def _places(value: float) -> int:
    """Decimals that make three significant digits, after rounding."""
    return max(0, 2 - int(f"{value:.2e}".partition("e")[2])) if value > 0 else 0
