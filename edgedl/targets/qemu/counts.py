"""From what count.c writes to instructions per inference."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from edgedl.errors import EngineFailed

_NOT_THE_MODEL = re.compile(r"^(python[\d.]+|_multiarray_umath\..*|ld-linux.*|libc\.so.*|\[.*\])$")
"""code that is not the engine's: the interpreter, numpy, the loader, and the C library, whose allocator serves them all"""


@dataclass(frozen=True)
class Counts:
    """Instructions of one inference. simd holds dot_product, int_multiply and float_multiply_add."""

    instructions: int = 0
    loads_stores: int = 0
    simd: int = 0
    dot_product: int = 0
    int_multiply: int = 0
    float_multiply_add: int = 0

    def plus(self, executions: int, of_one: tuple[int, ...]) -> Counts:
        return Counts(*(total + executions * one for total, one in zip(astuple(self), of_one, strict=True)))


@dataclass(frozen=True)
class Region:
    """A mapping of the process: [low, high) belongs to the file called `name`."""

    low: int
    high: int
    name: str


def regions(maps: str) -> list[Region]:
    """The named mappings of a /proc/PID/maps, by address."""
    found = []
    for line in maps.splitlines():
        span, _, _, _, _, *name = line.split(None, 5)
        low, high = (int(bound, 16) for bound in span.split("-"))
        found.append(Region(low, high, Path(name[0].strip()).name if name else ""))
    return sorted(found, key=lambda region: region.low)


def read(lines: Iterator[str], maps: str) -> list[Counts]:
    """The engine's instructions of each run; EngineFailed if the plugin's output is cut off or none of its making."""
    try:
        return list(_runs(lines, regions(maps)))
    except (ValueError, TypeError) as error:
        raise EngineFailed(f"the instruction counter wrote what is no count ({error}): measure again") from error


def _runs(lines: Iterator[str], where: list[Region]) -> Iterator[Counts]:
    total, open_run, lows = Counts(), False, [region.low for region in where]
    for line in lines:
        kind, *rest = line.split()
        if kind == "end":
            yield total
            total, open_run = Counts(), False
            continue
        address, executions, *of_one = rest
        open_run = True
        if kind != "run" or len(of_one) != len(fields(Counts)):
            raise ValueError(line.strip())
        if is_engine(_name_at(int(address, 16), where, lows)):
            total = total.plus(int(executions), tuple(map(int, of_one)))
    if open_run:
        raise ValueError("the last run has no end")


def is_engine(name: str) -> bool:
    """Whether code of this file counts as the engine's."""
    return not _NOT_THE_MODEL.match(name)


def _name_at(address: int, where: list[Region], lows: list[int]) -> str:
    """ "" for code that no file holds, such as what an engine generates."""
    index = bisect.bisect_right(lows, address) - 1
    return where[index].name if index >= 0 and address < where[index].high else ""


def least(runs: list[Counts]) -> Counts:
    """The run with the fewest: what a timer or another thread adds is no part of the inference. EngineFailed if none ran."""
    if not runs:
        raise EngineFailed("the instruction counter saw no run: measure again")
    return min(runs, key=lambda counts: counts.instructions)


TITLES: Mapping[str, str] = {
    "instructions": "instructions", "loads_stores": "loads and stores", "simd": "SIMD", "dot_product": "dot product",
    "int_multiply": "int multiply", "float_multiply_add": "float multiply-add",
}  # fmt: skip
"""field of Counts -> name of its figure"""
