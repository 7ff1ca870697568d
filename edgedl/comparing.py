"""Two models held side by side, tensor by tensor: where in the network an error comes from."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from edgedl import calibration as sources
from edgedl import registry
from edgedl.artifact import Artifact, golden_path
from edgedl.batching import fixed_batch, take_rows
from edgedl.comparison import Comparison, Layer
from edgedl.delivery import Reference
from edgedl.errors import EdgedlError, InvalidInput
from edgedl.exporting import Subject, torch_reference
from edgedl.isolated import IsolatedSession
from edgedl.quantizing import made_how, original_of
from edgedl.reference import TaskReference
from edgedl.runtime import Source, accept, as_source
from edgedl.seeded_inputs import inputs_of
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl.task import Task
from edgedl.verify.matching import Tensor, layouts, matched
from edgedl.verify.nodes import TorchGraph
from edgedl.verify.pairing import Pair, layout_of, likely_pairs, pairs_through, sure_pairs

RUNS = 32
"""Runs over which a comparison is made, at the most."""
PROBES = 2
"""Runs in which two tensors must be the same to be taken for one."""
TORCH = "torch"
Tensors = Callable[[Feeds], list[Tensor]]
"""What a side computes on the way, from task inputs, in the same order each time."""


@dataclass
class _Sums:
    """What is added up of one pair over all runs; factor: what ours is to be multiplied by."""

    factor: float = 1.0
    ours: float = 0.0
    theirs: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, ours: Array, theirs: Array) -> None:
        a, b = self.factor * ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
        self.ours, self.theirs = self.ours + float(a @ a), self.theirs + float(b @ b)
        self.product, self.noise = self.product + float(a @ b), self.noise + float((a - b) @ (a - b))
        self.low, self.high = np.min(ours, initial=self.low), np.max(ours, initial=self.high)

    @property
    def sqnr_db(self) -> float:
        if not math.isfinite(self.ours + self.noise):
            return math.nan
        return (
            10 * math.log10(self.ours / self.noise)
            if self.ours and self.noise
            else -math.inf
            if self.noise
            else math.inf
        )

    @property
    def cosine(self) -> float:
        norms = math.sqrt(self.ours * self.theirs)
        return self.product / norms if norms else float(self.ours == self.theirs)


@dataclass(frozen=True)
class _Side:
    """One model: its tensors on the way, and what inputs it takes (empty for torch, which takes any).

    bridges: float files of the same format that may show which tensor is which, found or made as they are asked for.
    outputs: the names of its outputs, in torch.
    """

    name: str
    format: str
    specs: tuple[TensorSpec, ...]
    tensors: Tensors
    bridges: Callable[[], Iterator[Tensors]] = lambda: iter(())
    outputs: frozenset[str] = frozenset()


def compare(
    a: str | Path | Source,
    b: str | Path | Source,
    *,
    task: Subject | None = None,
    calibration: str | None = None,
    shapes: Sequence[str] = (),
) -> Comparison:
    """Hold every tensor of `b` against that of `a`. Either may be a task or `torch`, the original; the other is held against it.

    task: the original, where no manifest leads to it. calibration: inputs, see edgedl.calibration.from_source; default: the
    task's own, else golden vectors, else seeded noise. shapes: of that noise, as `x=1x3x64x64`. InvalidInput where nothing
    can be compared.
    """
    given = [side if str(side) == TORCH else as_source(side) for side in (a, b)]
    artifacts = [side for side in given if isinstance(side, Artifact) and side.model_file]
    task = next((side for side in given if isinstance(side, TaskReference)), task)
    original, why_not = _original(artifacts, task)
    references = [torch_reference(original, **made_how(artifact)) if original else None for artifact in artifacts]
    sides = [_side(*pair) for pair in zip(artifacts, references, strict=True)]
    batches, kind = _inputs(artifacts, references[0], calibration, sides[0].specs, shapes)
    runs = list(islice(_runs(batches, [side.specs for side in sides]), RUNS))
    torch = [_torch_side(references[0], runs[0])] if references[0] else []
    ours, theirs = sides if len(sides) == 2 else (*torch, *sides)
    through = [_pairs_with_torch(torch[0], side, runs[:PROBES]) for side in sides] if torch else []
    pairs = through[0] if len(sides) == 1 else _pairs_of_files(ours, theirs, through, runs[0])
    layers, unmatched = _layers(ours, theirs, runs, pairs, _lines(torch, through, runs[0]))
    return Comparison(ours.name, theirs.name, kind, len(runs), layers, unmatched, why_not)


def _original(artifacts: Sequence[Artifact], task: Subject | None) -> tuple[Task | None, str]:
    """The original, or why there is none; only a comparison with torch cannot do without."""
    if not artifacts:
        raise InvalidInput("neither side is a model file: give one, as in: edgedl compare out/net.onnx torch")
    problem = f"the manifest of {artifacts[0].path} names no task; give it with --task net.py:NAME"
    for artifact in artifacts:
        try:
            if (found := original_of(artifact, task)) is not None:
                return found, ""
        except EdgedlError as error:
            problem = str(error)
            if task is not None:
                raise
    if len(artifacts) == 1:
        raise InvalidInput(f"no torch original to compare with: {problem}")
    return None, problem


def _side(artifact: Artifact, reference: Reference | None) -> _Side:
    """Loaded in a clean process first: what crashes an engine is an error here."""
    with IsolatedSession(artifact) as session:
        specs = session.inputs
    tensors = partial(_tensors, artifact.path, artifact.format, artifact.model_file, specs, reference)
    bridges = partial(_bridges, artifact, specs, reference)
    return _Side(str(artifact.path), artifact.format, specs, tensors, bridges)


def _tensors(
    path: Path, format: str, file: Path, specs: tuple[TensorSpec, ...], reference: Reference | None, feeds: Feeds
) -> list[Tensor]:
    given = reference.adapter.first_run(feeds) if reference else feeds
    found = registry.exporter(format).intermediates(file, accept(given, specs))
    return [Tensor(name, value) for name, value in found]


def _bridges(artifact: Artifact, specs: tuple[TensorSpec, ...], reference: Reference | None) -> Iterator[Tensors]:
    """The float file that the artifact was made from, if it lies beside it; then one that is exported for the purpose."""
    if (parent := _parent(artifact)) is not None:
        yield partial(_tensors, parent.path, parent.format, parent.model_file, specs, reference)
    if reference is None or reference.program is None:
        return
    exporter = registry.exporter(artifact.format)
    with tempfile.TemporaryDirectory(prefix="edgedl-compare-") as folder, contextlib.suppress(EdgedlError):
        path = Path(folder) / f"float{exporter.suffix}"
        exporter.export(reference.program, path)
        yield partial(_tensors, path, artifact.format, path, specs, reference)


def _parent(artifact: Artifact) -> Artifact | None:
    digest = artifact.manifest and artifact.manifest.provenance.get("parent_sha256")
    beside = sorted(artifact.path.parent.glob(f"*{artifact.path.suffix}")) if digest else ()
    for path in beside:
        with contextlib.suppress(EdgedlError):
            if (found := Artifact.open(path)).sha256 == digest:
                return found
    return None


def _torch_side(reference: Reference, feeds: Feeds) -> _Side:
    """Traced at the shapes of `feeds`."""
    assert reference.program
    adapter = reference.adapter
    graph = TorchGraph(reference.program, adapter.program_run(feeds))

    def tensors(feeds: Feeds) -> list[Tensor]:
        nodes = graph.nodes(adapter.program_run(feeds))
        return [Tensor(graph.outputs.get(node.name, node.name), node.value, node.line) for node in nodes]

    return _Side(reference.name, TORCH, (), tensors, outputs=frozenset(graph.outputs.values()))


def _inputs(
    artifacts: Sequence[Artifact],
    reference: Reference | None,
    calibration: str | None,
    specs: tuple[TensorSpec, ...],
    shapes: Sequence[str],
) -> tuple[Iterable[Feeds], str]:
    """Task inputs, where there is a reference, else inputs of the files; and what they are."""
    if shapes and (calibration or reference):
        raise InvalidInput("--shape is for made-up inputs: leave it out where a task or --calibration brings real ones")
    if calibration:
        return sources.from_source(calibration, specs)(), "given"
    if reference:
        return reference.batches, reference.kind
    golden = next((artifact for artifact in artifacts if golden_path(artifact.path).is_file()), None)
    if golden and not shapes:
        return [golden.golden()[0]], "golden"
    made = inputs_of(artifacts[0], shapes)[0]
    return (made.feeds(number) for number in range(RUNS)), "seeded"


def _runs(batches: Iterable[Feeds], sides: Sequence[tuple[TensorSpec, ...]]) -> Iterator[dict[str, Array]]:
    """The batches in as many rows as the side with the fewest takes."""
    for feeds in batches:
        sizes = [size for specs in sides if (size := fixed_batch(feeds, specs))]
        rows = len(next(iter(feeds.values()))) if sizes else 1
        for start in range(0, rows, min(sizes, default=1)):
            yield take_rows(feeds, start, min(sizes)) if sizes else dict(feeds)


def _pairs_with_torch(torch: _Side, side: _Side, runs: Sequence[Feeds]) -> list[Pair]:
    """Which tensor of the file is which of torch.

    A float file that is right holds the same values. What does not (integers, a fault) is known by the names of a float file of
    its format that does; where there is none, by what it resembles most.
    """
    nodes, tensors = ([side.tensors(feeds) for feeds in runs] for side in (torch, side))
    if _reaches_outputs(pairs := sure_pairs(nodes, tensors), nodes[0], torch.outputs):
        return pairs
    for bridge in side.bridges():
        between = [bridge(feeds) for feeds in runs]
        if _reaches_outputs(pairs := sure_pairs(nodes, between), nodes[0], torch.outputs):
            found = pairs_through(pairs, between[0], tensors[0])
            if 2 * len(found) >= len(pairs):
                return found
    return likely_pairs(nodes[0], tensors[0])


def _reaches_outputs(pairs: Sequence[Pair], nodes: Sequence[Tensor], outputs: frozenset[str]) -> bool:
    """Whether every output of torch has its like; the last tensor stands for outputs that are not among them."""
    wanted = {i for i, node in enumerate(nodes) if node.name in outputs} or {len(nodes) - 1}
    return wanted <= {pair.ours for pair in pairs if pair.factor == 1}


def _pairs_of_files(ours: _Side, theirs: _Side, through: Sequence[Sequence[Pair]], feeds: Feeds) -> list[Pair]:
    """By name within a format, through torch across formats, else by what resembles each other most."""
    first, other = ours.tensors(feeds), theirs.tensors(feeds)
    if ours.format == theirs.format:
        pairs = matched(first, other, same_format=True)
        return [Pair(i, j, layout_of(first[i].value, other[j].value)) for i, j in pairs]
    if not through:
        return likely_pairs(first, other)
    there = {pair.ours: pair for pair in through[1]}
    both = [(pair, there[pair.ours]) for pair in through[0] if pair.ours in there]
    return [
        Pair(a.theirs, b.theirs, layout_of(first[a.theirs].value * (b.factor / a.factor), other[b.theirs].value), b.factor / a.factor)
        for a, b in sorted(both, key=lambda pair: pair[0].theirs)
    ]  # fmt: skip


def _lines(torch: Sequence[_Side], through: Sequence[Sequence[Pair]], feeds: Feeds) -> dict[int, str]:
    """Position of our tensor -> the user's line."""
    if not torch:
        return {}
    nodes = torch[0].tensors(feeds)
    files = len(through) == 2
    places = ((pair.theirs if files else pair.ours, nodes[pair.ours].line) for pair in through[0])
    return {place: line for place, line in places if line}


def _layers(
    ours: _Side, theirs: _Side, runs: Sequence[Feeds], pairs: Sequence[Pair], lines: Mapping[int, str]
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    first, other = ours.tensors(runs[0]), theirs.tensors(runs[0])
    sums = [_Sums(pair.factor) for pair in pairs]
    for feeds in runs:
        left, right = ours.tensors(feeds), theirs.tensors(feeds)
        for total, pair in zip(sums, pairs, strict=True):
            total.add(layouts(left[pair.ours].value)[pair.layout], right[pair.theirs].value)
    layers = (
        Layer(
            *(first[pair.ours].name, other[pair.theirs].name, lines.get(pair.ours), first[pair.ours].value.shape),
            *(total.sqnr_db, total.cosine, float(total.low), float(total.high), pair.factor),
        )
        for total, pair in zip(sums, pairs, strict=True)
    )
    paired = {pair.ours for pair in pairs}
    return tuple(layers), tuple(t.name for i, t in enumerate(first) if i not in paired)
