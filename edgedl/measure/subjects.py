"""From model files and task references to the subjects of a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput, UnknownName
from edgedl.measure.plan import Subject
from edgedl.runtime import Source, format_of, runtimes_for

NAMES = {"ort": "ONNX Runtime", "litert": "LiteRT", "torch": "PyTorch"}
"""what people call the built-in engines; a plugin goes by its own name"""


def subjects_of(
    sources: Sequence[Source], runtimes: Sequence[str] = ("auto",), device: str = "cpu", threads: Sequence[int] = (1,)
) -> list[Subject]:
    """Every (source, engine that loads it, number of threads); the label tells them apart.

    `auto` is the first installed engine of the format. UnknownName for an engine that is not registered; InvalidInput
    where none of those asked for loads a source, or a number of threads is below 1.
    """
    if any(count < 1 for count in threads):
        raise InvalidInput(f"threads={min(threads)}: expected 1 or more")
    paths = [_where(source) for source in sources]
    return [
        Subject(_label(source, paths, name, count if len(threads) > 1 else None), source, name, device, count)
        for source in sources
        for name in engines_for(source, runtimes)
        for count in threads
    ]


def engines_for(source: Source, wanted: Sequence[str]) -> list[str]:
    known = registry.runtimes()
    for name in wanted:
        if name != "auto" and name not in known:
            raise UnknownName("runtime", name, ["auto", *known])
    fmt = format_of(source)
    able = [n for n in wanted if n == "auto" or fmt in known[n].load().formats]
    if not able:
        others = ", ".join(runtimes_for(source)) or "none that is installed"
        asked = " and ".join(wanted)
        raise InvalidInput(f"{_where(source)} is a {fmt} model, which {asked} cannot load; these can: {others}")
    named = [(runtimes_for(source) or ["auto"])[0] if name == "auto" else name for name in able]
    return list(dict.fromkeys(named))


def _where(source: Source) -> str:
    return str(source.path) if isinstance(source, Artifact) else source.text


def _label(source: Source, paths: list[str], runtime: str, threads: int | None) -> str:
    """File name (with its folder where two have one name), engine, and the threads where they differ."""
    where = _where(source)
    if isinstance(source, Artifact):
        same = [path for path in paths if Path(path).name == source.path.name]
        where = where if len(set(same)) > 1 else source.path.name
    count = f", {threads} thread{'s' * (threads > 1)}" if threads else ""
    return f"{where} in {NAMES.get(runtime, runtime)}{count}"
