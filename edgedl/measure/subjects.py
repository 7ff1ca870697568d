"""From model files and task references to the subjects of a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import InvalidInput, UnknownName
from edgedl.measure.plan import Subject
from edgedl.measure.record import Measured
from edgedl.runtime import NO_OPTIONS, Options, Source, format_of, runtimes_for

NAMES = {
    "ort": "ONNX Runtime", "litert": "LiteRT", "torch": "PyTorch", "openvino": "OpenVINO", "tflm": "TensorFlow Lite Micro",
}  # fmt: skip
"""what people call the built-in engines; a plugin goes by its own name"""


def subjects_of(
    sources: Sequence[Source], runtimes: Sequence[str] = ("auto",), device: str = "cpu", threads: Sequence[int] = (1,),
    options: Options = NO_OPTIONS, affinity: tuple[int, ...] = (),
) -> list[Subject]:  # fmt: skip
    """Every (source, engine that loads it, number of threads); the label tells them apart.

    `auto` is the first installed engine of the format, `all` every one. options go to the engines that have them, affinity to all.
    UnknownName for an option that none of the engines has, or an engine that is not registered; InvalidInput
    where none of those asked for loads a source, or a number of threads is below 1.
    """
    if any(count < 1 for count in threads):
        raise InvalidInput(f"threads={min(threads)}: expected 1 or more")
    paths = [_where(source) for source in sources]
    pairs = [(source, name) for source in sources for name in engines_for(source, runtimes)]
    chosen = _options({name for _, name in pairs}, options)
    return [
        Subject(
            _label(source, paths, name, count if len(threads) > 1 else None),
            *(source, name, device, count, chosen[name], affinity),
        )
        for source, name in pairs
        for count in threads
    ]


def _options(names: set[str], given: Options) -> dict[str, Options]:
    """Engine -> those of the options that it has."""
    known: dict[str, Options] = (
        {name: getattr(registry.runtime(name), "options", NO_OPTIONS) for name in names} if given else {}
    )
    for option in given:
        if not any(option in there for there in known.values()):
            raise UnknownName(
                f"option of {' or '.join(sorted(names))}", option, {o for there in known.values() for o in there}
            )
    return {name: {o: v for o, v in given.items() if o in known[name]} for name in names}


def engines_for(source: Source, wanted: Sequence[str]) -> list[str]:
    known = registry.runtimes()
    for name in wanted:
        if name not in ("auto", "all") and name not in known:
            raise UnknownName("runtime", name, ["auto", "all", *known])
    fmt = format_of(source)
    able = [n for n in wanted if n in ("auto", "all") or fmt in known[n].load().formats]
    if not able:
        others = ", ".join(runtimes_for(source)) or "none that is installed"
        asked = " and ".join(wanted)
        raise InvalidInput(f"{_where(source)} is a {fmt} model, which {asked} cannot load; these can: {others}")
    here = runtimes_for(source) or ["auto"]
    meant = {"auto": here[:1], "all": here}
    return list(dict.fromkeys(name for asked in able for name in meant.get(asked, [asked])))


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


def describe(subject: Subject) -> Measured:
    """A subject of which nothing is measured yet."""
    source = subject.source
    shared = (subject.runtime, subject.device, subject.threads, subject.options, subject.affinity)
    if not isinstance(source, Artifact):
        return Measured(subject.label, source.text, format_of(source), *shared)
    return Measured(
        subject.label, source.path.name, source.format, *shared,
        sha256=source.sha256, size=source.size, path=source.path.as_posix(),
    )  # fmt: skip
