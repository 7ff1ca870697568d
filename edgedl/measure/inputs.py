"""What the subjects are fed with: real inputs where there are any, the same for all formats of one model."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgedl.artifact import Artifact, golden_path
from edgedl.errors import InvalidInput
from edgedl.measure.plan import Subject
from edgedl.proven_lengths import length_check
from edgedl.reference import TaskReference
from edgedl.runtime import accept
from edgedl.seeded_inputs import inputs_of
from edgedl.spec import Feeds, InputOption, TensorSpec, distinct_axes, parse_input

MOST_SETS = 16
MOST_BYTES = 1 << 25
"""Of the inputs that take turns: more would not tell more, and would crowd the memory."""


@dataclass(frozen=True)
class Inputs:
    """sets: one or more of the same shapes, which take turns.

    kind: `golden` (stored with the artifact), `task` (real ones of the task), `given` or `seeded` (made up).
    """

    sets: tuple[Feeds, ...]
    kind: str

    @property
    def feeds(self) -> Feeds:
        """The first of them."""
        return self.sets[0]


class InputChoice:
    """Callable (subject, input specs of its session) -> Inputs in exactly the specified dtypes.

    subjects: all that are measured; what one of them has serves the others of the same input names and layout.
    batch: length of the dynamic axis that comes first (None: 1, or what the model fixes). given: texts of `--input`.
    shapes: texts of `--shape`. unproven: take lengths that an artifact is not proven at.
    asked: whether a batch or an input was.
    InvalidInput where the model fixes another batch, or leaves an axis open for which nothing is known.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        batch: int | None = None,
        given: tuple[str, ...] = (),
        shapes: tuple[str, ...] = (),
        unproven: bool = False,
    ) -> None:
        if batch is not None and batch < 1:
            raise InvalidInput(f"batch={batch}: expected 1 or more")
        self.asked = batch is not None or bool(given) or bool(shapes)
        self._shapes, self._unproven = shapes, unproven
        self._tried: dict[tuple[TensorSpec, ...], Inputs] = {}
        self._subjects, self._batch = subjects, batch
        self._given = {option.spec.name: option for option in map(parse_input, given)}
        self._real = functools.cache(_real)

    def __call__(self, subject: Subject, specs: tuple[TensorSpec, ...]) -> Inputs:
        inputs = self._choose(subject, specs)
        manifest = subject.source.manifest if isinstance(subject.source, Artifact) else None
        if not self._unproven and (check := length_check(manifest)):
            check(inputs.feeds)
        return inputs

    def _choose(self, subject: Subject, specs: tuple[TensorSpec, ...]) -> Inputs:
        specs = distinct_axes(specs)
        _check_batch(specs, self._batch)
        if self._shapes and isinstance(subject.source, Artifact):
            return self._by_trial(subject.source, specs)
        if self._given:
            return Inputs((_seeded(specs, self._given),), "given")
        for found in self._candidates(subject, specs):
            return Inputs(tuple(several(found.sets, specs, self._batch or 1)), found.kind)
        if len(_open(specs)) > 1 and isinstance(subject.source, Artifact):
            return self._by_trial(subject.source, specs)
        return Inputs((_seeded(sized(specs, self._batch or 1), {}),), "seeded")

    def _by_trial(self, artifact: Artifact, specs: tuple[TensorSpec, ...]) -> Inputs:
        """Seeded, of the shape asked for or of lengths that the file runs on; the same for files of the same inputs."""
        if specs not in self._tried:
            made = inputs_of(artifact, self._shapes)[0]
            feeds = made.feeds(0) if self._shapes else fit(made.feeds(0), specs, self._batch or 1)
            self._tried[specs] = Inputs((accept(feeds, specs),), "seeded")
        return self._tried[specs]

    def _candidates(self, subject: Subject, specs: tuple[TensorSpec, ...]) -> Iterator[Inputs]:
        """Its own golden vectors, then those of the others, then what a task brings (which imports torch)."""
        sources = [subject.source, *(other.source for other in self._subjects)]
        ordered = [s for s in sources if isinstance(s, Artifact)] + [s for s in sources if isinstance(s, TaskReference)]
        for source in ordered:
            found = self._real(_key(source))
            if found and fits(found.feeds, specs):
                yield found


def _open(specs: tuple[TensorSpec, ...]) -> set[str]:
    return {length for spec in specs for length in spec.shape if isinstance(length, str)}


def _key(source: Artifact | TaskReference) -> str | TaskReference:
    return source if isinstance(source, TaskReference) else str(source.path)


def _real(key: str | TaskReference) -> Inputs | None:
    if isinstance(key, TaskReference):
        task = key.resolve()
        batches = tuple(itertools.islice(task.calibration(), MOST_SETS)) if task.calibration else ()
        return Inputs(batches or (task.example_inputs(),), "task")
    artifact = Artifact.open(key)
    return Inputs((artifact.golden()[0],), "golden") if golden_path(artifact.path).is_file() else None


def fits(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> bool:
    """Whether the arrays have the names, and but for the first axis the shapes, of the specs."""
    return set(feeds) == {spec.name for spec in specs} and all(_like(feeds[s.name].shape, s.shape) for s in specs)


def _like(shape: tuple[int, ...], spec: tuple[int | str, ...]) -> bool:
    if len(shape) != len(spec) or 0 in shape:
        return False
    return all(isinstance(d, str) or d == n for d, n in zip(spec[1:], shape[1:], strict=True))


def several(batches: Sequence[Feeds], specs: tuple[TensorSpec, ...], batch: int) -> Iterator[Feeds]:
    """Sets of inputs of one shape, cut from batch after batch, in the specified dtypes; at least one, at most MOST_SETS."""
    fitting = (feeds for feeds in batches if fits(feeds, specs))
    cut = (accept(fit(feeds, specs, batch, n), specs) for feeds in fitting for n in range(_pieces(feeds, specs, batch)))
    first = next(cut)
    shapes = {name: array.shape for name, array in first.items()}
    most = min(MOST_SETS, max(1, MOST_BYTES // max(1, sum(array.nbytes for array in first.values()))))
    alike = (feeds for feeds in cut if {name: array.shape for name, array in feeds.items()} == shapes)
    yield from itertools.chain([first], itertools.islice(alike, most - 1))


def _pieces(feeds: Feeds, specs: tuple[TensorSpec, ...], batch: int) -> int:
    """How many whole sets the rows of a batch make; at least one."""
    name = batch_axis(specs)
    rows = [
        np.shape(feeds[spec.name])[axis] // (batch if length == name else max(1, int(length)))
        for spec in specs
        for axis, length in enumerate(spec.shape)
        if (length == name if name else axis == 0)
    ]
    return max(1, min(rows, default=1))


def fit(feeds: Feeds, specs: tuple[TensorSpec, ...], batch: int, piece: int = 0) -> dict[str, np.ndarray]:
    """Rows number `piece` x n to (`piece` + 1) x n, where n is what the spec fixes, else `batch`; repeated if too few."""
    name = batch_axis(specs)
    fitted = {}
    for spec in specs:
        array = np.asarray(feeds[spec.name])
        for axis, length in enumerate(spec.shape):
            wanted = batch if length == name else length if axis == 0 else array.shape[axis]
            if isinstance(wanted, int) and wanted != array.shape[axis]:
                array = np.take(array, (np.arange(wanted) + piece * wanted) % array.shape[axis], axis=axis)
        fitted[spec.name] = array
    return fitted


def sized(specs: tuple[TensorSpec, ...], batch: int) -> tuple[TensorSpec, ...]:
    """The specs with the batch axis fixed; InvalidInput if another axis is left open."""
    name = batch_axis(specs)
    fixed = tuple(replace(spec, shape=tuple(batch if d == name else d for d in spec.shape)) for spec in specs)
    for spec in fixed:
        if any(isinstance(d, str) for d in spec.shape):
            shape = "x".join("16" if isinstance(d, str) else str(d) for d in spec.shape)
            raise InvalidInput(f"input {spec} leaves a length open: add, say, --input {spec.name}={shape}:{spec.dtype}")
    return fixed


def batch_axis(specs: tuple[TensorSpec, ...]) -> str | None:
    """The name of the dynamic axis that comes first in a shape."""
    return next((spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str)), None)


def _check_batch(specs: tuple[TensorSpec, ...], batch: int | None) -> None:
    fixed = [spec for spec in specs if spec.shape and spec.shape[0] != batch]
    if batch is not None and fixed and batch_axis(specs) is None:
        raise InvalidInput(f"batch={batch} was asked for, and the model fixes {fixed[0]}: export it with --dynamic")


def _seeded(specs: tuple[TensorSpec, ...], given: Mapping[str, InputOption]) -> dict[str, np.ndarray]:
    """Seeded by the input's place, so that one model gets one set of values in every format."""
    made = {}
    for seed, spec in enumerate(specs):
        option = given.get(spec.name) or _option(spec)
        made[spec.name] = option.sample(seed)
    unknown = set(given) - set(made)
    if unknown:
        raise InvalidInput(f"--input {sorted(unknown)[0]}: the model has the inputs {', '.join(map(str, specs))}")
    return accept(made, specs)


def _option(spec: TensorSpec) -> InputOption:
    if any(isinstance(d, str) for d in spec.shape):
        raise InvalidInput(f"input {spec} leaves a length open: give it with --input {spec.name}=SHAPE:{spec.dtype}")
    real = np.dtype(spec.dtype).kind == "f" or spec.quantization is not None
    low, high = (-np.inf, np.inf) if real else (0.0, 1.0)
    return InputOption(replace(spec, dtype="float32") if spec.quantization else spec, low, high)
