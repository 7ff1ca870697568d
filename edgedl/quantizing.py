"""From a float artifact to a proven quantized one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from edgedl import calibration as sources
from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.batching import batched
from edgedl.delivery import Claim, Judge, Reference, deliver, saturation_of
from edgedl.errors import EdgedlError, EngineFailed, InvalidInput, InvalidTensor, UnknownName, Unsupported
from edgedl.exporter import (
    AUTO,
    DEFAULT_OPTIONS,
    Calibration,
    Description,
    Exporter,
    FloatRegion,
    QuantizationOptions,
)
from edgedl.exporting import Subject, export, group_suffix, left_by, resolve, torch_reference, within
from edgedl.files import is_full, output_folder, refuse_existing, sha256, staging
from edgedl.group import SUFFIX
from edgedl.grouping import deliver_group, loop_reference
from edgedl.isolated import IsolatedSession
from edgedl.parts import Parts
from edgedl.quantization.advice import for_inexact, for_slow, instead_of
from edgedl.quantization.slow_operators import write_paying
from edgedl.quantization.written import Written
from edgedl.reference import TaskReference
from edgedl.runtime import Session, load
from edgedl.schemes import Scheme
from edgedl.schemes import scheme as scheme_called
from edgedl.seeded_inputs import Ranges, SeededInputs, proof_batches, seeded_inputs
from edgedl.spec import Array, Feeds, TensorSpec, distinct_axes
from edgedl.task import Task
from edgedl.verify.cases import BATCHES, enough, given_inputs
from edgedl.worth import worth_of


def quantize(
    artifact: str | Path | Artifact,
    scheme: str,
    out: str | Path | None = None,
    *,
    task: Subject | None = None,
    calibration: str | None = None,
    samples: int = sources.SAMPLES,
    random_calibration: bool = False,
    allow_slower: bool = False,
    force: bool = False,
    max_drop: float | None = None,
    allow_constant: bool = False,
    options: QuantizationOptions = DEFAULT_OPTIONS,
    speed_check: bool = True,
    target: str = "local",
    shapes: Sequence[str] = (),
) -> Artifact:
    """Write `NAME.SCHEME.onnx` (or .tflite) into `out` (default: beside the source), proven against the original.

    task: the original, where the artifact's manifest does not lead to it; without one the float artifact itself is the
    original. calibration: see edgedl.calibration.from_source; default: the task's own inputs. samples: rows of it.
    random_calibration: seeded noise instead, and the manifest says so. allow_slower: take a scheme that is known not to pay.
    options: how the scheme is carried out; recorded in the manifest's provenance. speed_check: the result fails its gate if it
    is slower on the target than the float artifact, even with its slow operators in float, or not smaller (see edgedl.worth);
    with allow_slower it is told alone. False measures nothing and claims nothing.
    shapes: of made-up inputs for a file without a task, as `x=1x3x64x64`; without one, lengths that the file takes are tried.
    allow_constant: an original whose outputs do not depend on its inputs passes.
    Raises Unsupported for a scheme that is a bad choice, InvalidInput without calibration data, and GateFailed.
    """
    source = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
    wanted, path = target_of(source, scheme, out, max_drop, allow_constant)
    output_folder(path.parent)
    if not force:
        refuse_existing(path)
    if not allow_slower:
        refuse_unsuitable(source, wanted)
    checked = partial(
        _quantize_file, allow_slower=allow_slower, speed_check=speed_check, target=target, samples=samples,
        random_calibration=random_calibration,
    )  # fmt: skip
    if source.group:
        whole = _decoding_task(source, task, calibration)
        return _quantize_group(source, path, whole, wanted, options, checked)
    return checked(source, wanted, path, options, task=task, calibration=calibration, shapes=shapes)


def _quantize_file(
    source: Artifact, scheme: Scheme, path: Path, options: QuantizationOptions, *, allow_slower: bool, speed_check: bool,
    target: str, siblings: tuple[Path, ...] = (), **given: Any,
) -> Artifact:  # fmt: skip
    from edgedl.tune.remedy import remedy  # it takes a Job of this module

    judge = speed_judge(lambda: source, target) if speed_check else None
    with job(source, scheme, path, **given) as opened:
        return replace(opened, siblings=siblings).deliver(options, judge, allow_slower, remedy)


def refuse_unsuitable(source: Artifact, scheme: Scheme) -> None:
    """Unsupported for a scheme that is known not to pay for the artifact, or for a member of the group, with one that suits all."""
    members = source.members() if source.group else {"": source}
    exporter, files = registry.exporter(source.format), [member.path for member in members.values()]
    for name, member in members.items():
        if reason := exporter.objection(member.path, scheme):
            where = f"the {name} of {source.path}: " if name else ""
            raise Unsupported(f"{where}{reason}{instead_of(exporter, files, scheme)} (or add --allow-slower)")


def target_of(
    source: Artifact, scheme: str, out: str | Path | None, max_drop: float | None, allow_constant: bool = False
) -> tuple[Scheme, Path]:
    """The scheme under the budget, and the path of the result; UnknownName or InvalidInput where the source cannot have it."""
    wanted, suffix = within(_scheme(source, scheme), max_drop, allow_constant), registry.exporter(source.format).suffix
    folder = Path(out) if out is not None else source.path.parent
    return wanted, folder / f"{_stem(source)}.{scheme}{suffix}{SUFFIX if source.group else ''}"


def speed_judge(parent: Callable[[], Artifact], target: str) -> Judge | None:
    """Hold an artifact against its float parent, which is asked for when it is needed."""
    return lambda artifact: worth_of(artifact, parent(), target)


@dataclass(frozen=True)
class Job:
    """A float artifact on its way to a narrower one at `path`: everything but the options.

    runs: of the float artifact over the calibration inputs, where the scheme needs them. siblings: the other members of its group.
    """

    source: Artifact
    exporter: Exporter
    scheme: Scheme
    reference: Reference
    runs: Calibration | None
    provenance: Mapping[str, Any]
    path: Path
    siblings: tuple[Path, ...] = ()

    def write(self, options: QuantizationOptions, path: Path) -> Written:
        """The file alone, not proven; Unsupported where options or scheme cannot be carried out."""
        if AUTO not in options.narrow:
            regions = _write(self.exporter, self.source, self.scheme, self.runs or self._seen(), path, options)
            return Written(options, regions)
        named = tuple(name for name in options.narrow if name != AUTO)
        self.write(replace(options, narrow=named), path)
        found = saturation_of(path, self._claim({})).confirmed
        known = {layer.name for layer in self.exporter.layers(self.source.path)}
        mended = (layer.layer for layer in found if layer.layer in known)
        return self.write(replace(options, narrow=tuple(dict.fromkeys((*named, *mended)))), path)

    def deliver(
        self, options: QuantizationOptions, judge: Judge | None = None, allow_slower: bool = False,
        remedy: Remedy = lambda job, options, failed: "", **found: Any,
    ) -> Artifact:  # fmt: skip
        """Written, proven and put in its place; `found` goes into the provenance. remedy: for what is not proven."""
        with staging(self.path.parent) as stage:
            staged = stage / self.path.name
            written, judge = self._written(options, staged, judge, allow_slower)
            claim = replace(
                self._claim({**self.provenance, **written.to_dict(), **found}), judge=judge,
                allow_slower=allow_slower, remedy=partial(self._remedy, remedy, written.options),
                instead=for_slow(self.exporter, self._files, self.scheme),
            )  # fmt: skip
            return deliver(staged, self.path.parent, claim)

    def _written(
        self, options: QuantizationOptions, staged: Path, judge: Judge | None, allow_slower: bool
    ) -> tuple[Written, Judge | None]:
        """The file at `staged`, and a judge that knows already what it found; allow_slower: as the options say, and no other."""
        if judge is None or allow_slower:
            return self.write(options, staged), judge
        written, worth = write_paying(self.write, judge, self.exporter, staged, options)
        return written, lambda artifact: worth

    def _remedy(self, remedy: Remedy, options: QuantizationOptions, failed: Path) -> str:
        """Layers in float with which it passes, else a scheme that loses less."""
        return remedy(self, options, failed) or for_inexact(self.exporter, self._files, self.scheme)

    def _seen(self) -> Calibration | None:
        """The runs of the proof, for a scheme whose ranges are taken at run time: they show magnitudes."""
        if self.scheme.activations != "int8":
            return None
        batches, adapter = self.reference.batches, self.reference.adapter
        specs = self.exporter.describe(self.source.path).inputs
        return sources.prepared(lambda: map(adapter.first_run, batches), specs, sources.SAMPLES)

    @property
    def _files(self) -> list[Path]:
        """All that a scheme has to suit."""
        return [self.source.path, *self.siblings]

    def _claim(self, provenance: Mapping[str, Any]) -> Claim:
        return Claim(_stem(self.source), self.exporter, self.scheme, self.reference, provenance, runs=self.runs)


_FLOATS = ("float32", "float16", "float64", "bfloat16")
Remedy = Callable[[Job, QuantizationOptions, Path], str]
"""What to do about a file that was written with these options and is not proven; see edgedl.tune.remedy."""


@contextmanager
def job(
    source: Artifact, scheme: Scheme, path: Path, task: Subject | None = None, calibration: str | None = None,
    samples: int = sources.SAMPLES, random_calibration: bool = False, shapes: Sequence[str] = (),
) -> Iterator[Job]:  # fmt: skip
    """Finds the original and the calibration inputs, as `quantize` tells them; InvalidInput where there are none."""
    original, exporter = original_of(source, task), registry.exporter(source.format)
    described = exporter.describe(source.model_file)
    _check_shapes(source, original, calibration, shapes)
    data, origin = _calibration(scheme, original, calibration, described.inputs, samples, random_calibration)
    provenance = {**_provenance(source), **_parent(source, path, shapes), "calibration": origin}
    with _reference(source, original, calibration, described.ranges, shapes) as (reference, made):
        specs = described.inputs
        if made and data is not None and random_calibration:
            data, specs = made.calibration(samples), tuple(option.spec for option in made.options)
        runs = _prepared(source, data, reference, specs, samples)
        yield Job(source, exporter, scheme, reference, runs, provenance, path)


def _check_shapes(source: Artifact, original: Task | None, calibration: str | None, shapes: Sequence[str]) -> None:
    """InvalidInput where --shape would have no effect."""
    if shapes and original:
        raise InvalidInput(
            f"--shape is for a file without a task: {source.path} is proven at the lengths of {original.name}; "
            "export it again with --shape"
        )
    if shapes and calibration:
        raise InvalidInput("--shape gives made-up inputs their shape, --calibration real inputs: give one of them")


def _parent(source: Artifact, path: Path, shapes: Sequence[str]) -> dict[str, Any]:
    """What leads from the result to the file that it was made from."""
    where = os.path.relpath(source.path, path.parent)
    return {"parent": where, "parent_sha256": sha256(source.path), **({"shapes": list(shapes)} if shapes else {})}


def _quantize_group(
    source: Artifact,
    path: Path,
    task: Task,
    scheme: Scheme,
    options: QuantizationOptions,
    make_file: Callable[..., Artifact],
) -> Artifact:
    parts, members = Parts.of(task), source.members()
    provenance = {**_provenance(source), "parent_sha256": source.sha256}
    exporter = registry.exporter(source.format)
    by_part = _by_part(options, exporter, members) if options.layers() else dict.fromkeys(members, options)

    def make(name: str, part: Task, folder: Path) -> Artifact:
        try:
            member, siblings = members[name], tuple(m.path for m in members.values() if m is not members[name])
            made, place = target_of(member, scheme.name, folder, None, scheme.tolerance.constant)
            return make_file(member, made, place, by_part[name], task=part, siblings=siblings)
        except Unsupported as error:
            raise Unsupported(f"the {name} of {source.path}: {error}") from error

    return deliver_group(path, parts, Claim(_stem(source), exporter, scheme, loop_reference(parts), provenance), make)


def _by_part(
    options: QuantizationOptions, exporter: Exporter, members: Mapping[str, Artifact]
) -> dict[str, QuantizationOptions]:
    """Each part with the layers that it has; UnknownName for a layer that none has."""
    known = {name: _names_in(exporter, member.path) for name, member in members.items()}
    everywhere = set().union(*known.values())
    if missing := sorted(options.layers() - everywhere):
        raise UnknownName("layer", missing[0], everywhere)
    return {name: options.among(layers) for name, layers in known.items()}


def _names_in(exporter: Exporter, path: Path) -> set[str]:
    """The layers and the types of operators in a file."""
    return {layer.name for layer in exporter.layers(path)}.union(exporter.describe(path).operators)


def _decoding_task(source: Artifact, task: Subject | None, calibration: str | None) -> Task:
    """The original of a group, with other calibration inputs where they are given."""
    original = original_of(source, task)
    if not original or not source.manifest:
        raise InvalidInput(f"the manifest of {source.path} names no task: give it with --task net.py:NAME")
    inputs = sources.from_source(calibration, source.manifest.inputs) if calibration else original.calibration
    return replace(original, calibration=inputs)


def export_and_quantize(
    task: Subject, scheme: str, to: Iterable[str], out: str | Path, *, force: bool = False,
    make: Callable[..., Artifact] = quantize, **options: Any,
) -> list[Artifact]:  # fmt: skip
    """The float artifacts of a task (or those that an earlier export of it left) and their quantized ones; returns the latter.

    make: `quantize`, or what takes its arguments.
    """
    return [
        make(
            _float(task, f, out, force, bool(options.get("allow_constant"))),
            scheme,
            out,
            task=task,
            force=force,
            **options,
        )
        for f in dict.fromkeys(to)
    ]


def _float(task: Subject, format: str, out: str | Path, force: bool, allow_constant: bool) -> Artifact:
    resolved, _ = resolve(task)
    path = Path(out) / f"{resolved.name}{registry.exporter(format).suffix}{group_suffix(resolved)}"
    reference = TaskReference(task) if isinstance(task, str) else task
    left = left_by(path, reference) if isinstance(reference, TaskReference) else None
    return left or export(task, [format], out, force=force, allow_constant=allow_constant)[0]


def _scheme(source: Artifact, name: str) -> Scheme:
    found, known = scheme_called(name), registry.exporter(source.format).schemes
    if name not in known:
        raise Unsupported(f"{source.format} has no {name} ({found.suits}): its schemes are {', '.join(known)}")
    if source.manifest and source.manifest.scheme != "fp32":
        raise InvalidInput(
            f"{source.path} is {source.manifest.scheme} already: quantize the float artifact that it was made from"
        )
    return found


def _stem(source: Artifact) -> str:
    return source.manifest.name if source.manifest else source.path.stem


def _provenance(source: Artifact) -> dict[str, Any]:
    kept = dict(source.manifest.provenance) if source.manifest else {}
    return {key: kept[key] for key in ("task", "weights_sha256", "channels_last", "streaming") if key in kept}


def original_of(source: Artifact, task: Subject | None) -> Task | None:
    """The task given, else the one that the manifest names, else None."""
    if task is not None:
        return resolve(task)[0]
    told = source.manifest.provenance if source.manifest else {}
    if not told.get("task"):
        return None
    reference = _beside(TaskReference.from_dict(told["task"]), source)
    try:
        resolved, provenance = resolve(reference)
    except EdgedlError as error:
        raise InvalidInput(
            f"{source.path} was made from {reference.text!r}, which cannot be had: {error}; give it with --task"
        ) from error
    if reference.weights and not Path(reference.weights).exists():
        raise InvalidInput(
            f"the weights that {source.path} was exported from are not here ({reference.weights}): "
            "put that file beside the model file"
        )
    if provenance["weights_sha256"] != told.get("weights_sha256"):
        raise InvalidInput(f"{reference.weights} has changed since {source.path} was exported from it: export it again")
    return resolved


class MadeHow(TypedDict):
    """Options of `torch_reference`."""

    channels_last: bool
    streaming: bool


def made_how(source: Artifact) -> MadeHow:
    """The options of `torch_reference` that the artifact was exported with."""
    told = source.manifest.provenance if source.manifest else {}
    return {"channels_last": bool(told.get("channels_last")), "streaming": bool(told.get("streaming"))}


def _beside(reference: TaskReference, source: Artifact) -> TaskReference:
    """The files of the reference: where they were, as seen from the artifact, if they are not where the caller stands.

    Weights may also have moved along with the artifact; their checksum tells whether they are the same.
    """
    told = source.manifest.provenance if source.manifest else {}
    origin = source.path.parent / str(told.get("made_in", "."))
    file, colon, name = reference.text.rpartition(":") if ":" in reference.text else (reference.text, "", "")
    text = f"{_found(file, origin)}{colon}{name}" if file.endswith((".py", ".pt2")) else reference.text
    weights = reference.weights and _found(reference.weights, origin, source.path.parent)
    return replace(reference, text=text, weights=weights)


def _found(file: str, origin: Path, *folders: Path) -> str:
    candidates = [Path(file), origin / file, *(folder / Path(file).name for folder in folders)]
    return next((str(path) for path in candidates if path.exists()), file)


def _reference(source: Artifact, task: Task | None, rows: str | None, ranges: Ranges, shapes: Sequence[str]) -> Any:
    """A context that gives the Reference, eager torch or the float artifact itself, and the made-up inputs, if there are any."""
    if task is not None:
        return nullcontext((torch_reference(task, **made_how(source), rows=rows), None))
    return artifact_reference(source, rows, ranges, shapes)


@contextmanager
def artifact_reference(
    source: Artifact, rows: str | None, ranges: Ranges, shapes: Sequence[str] = ()
) -> Iterator[tuple[Reference, SeededInputs | None]]:
    """The float artifact, in a process of its own, on the user's rows or on made-up inputs."""
    with IsolatedSession(source) as session:
        made = () if rows else seeded_inputs(session, str(source.path), ranges, shapes)
        predict = batched(partial(_run_parent, session, source), session.inputs)
        if rows:
            given = given_inputs(rows, sources.from_source(rows, session.inputs), session.inputs, {})
            batches, kind = enough(*given, session.run)
        else:
            batches, kind = list(proof_batches(made, BATCHES)), "seeded"
        yield (
            Reference(session.engine, predict, batches[0], batches, kind, {}, given=rows is not None),
            next(iter(made), None),
        )


def _run_parent(session: Session, source: Artifact, feeds: Feeds) -> dict[str, Array]:
    try:
        return session.run(feeds)
    except (EngineFailed, InvalidTensor) as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
        raise InvalidInput(
            f"the float file {source.path} does not run on these inputs itself ({shapes}): {error}; "
            "give --calibration rows.npz or --shape INPUT=SHAPE"
        ) from error


def _calibration(
    scheme: Scheme, task: Task | None, given: str | None, specs: tuple[TensorSpec, ...], samples: int, random: bool
) -> tuple[Calibration | None, str]:
    """The calibration inputs and, for the manifest, what they are."""
    if samples < 1:
        raise InvalidInput(f"--samples {samples}: expected 1 or more")
    if not scheme.needs_calibration:
        return None, "none"
    if random:
        return sources.random(distinct_axes(specs), samples), "random noise"
    if given:
        return sources.from_source(given, specs), given
    if task and task.calibration:
        return task.calibration, "task"
    raise InvalidInput(
        f"{scheme.name} needs calibration inputs: give --calibration inputs.npz (arrays by input name), "
        "or a task with calibration(); --random-calibration uses noise, which no shipped model should rest on"
    )


def _prepared(
    source: Artifact, data: Calibration | None, reference: Reference, specs: tuple[TensorSpec, ...], samples: int
) -> Calibration | None:
    """Every run of the float artifact over the calibration inputs."""
    if data is None:
        return None
    return sources.prepared(lambda: reference.adapter.runs(data(), partial(load, source)), specs, samples)


def _write(
    exporter: Exporter, source: Artifact, scheme: Scheme, data: Calibration | None, path: Path,
    options: QuantizationOptions,
) -> tuple[FloatRegion, ...]:  # fmt: skip
    try:
        regions = exporter.quantize(source.path, scheme, data, path, options)
    except EdgedlError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and is_full(error, path.parent):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unsupported(
            f"{source.path} cannot be quantized to {scheme.name}: {type(error).__name__}: {first}"
        ) from error
    _check_narrower(exporter, source.path, path, scheme)
    return regions


def _check_narrower(exporter: Exporter, source: Path, path: Path, scheme: Scheme) -> None:
    """Unsupported where every weight is still as wide as in the source."""
    before, after = (_float_bytes(exporter.describe(file), scheme) for file in (source, path))
    if not any(before):
        raise Unsupported(f"{source} has no {'float32' if scheme.name == 'fp16' else 'float'} weights to quantize")
    if after >= before:
        found = instead_of(exporter, [source], scheme, ("w8", "fp16"))
        raise Unsupported(f"{scheme.name} leaves every weight of {source} as wide as it is{found}")


def _float_bytes(description: Description, scheme: Scheme) -> tuple[int, int]:
    """Bytes of the weights that the scheme could make narrower, and of all such constants."""
    wide = [line for line in description.ledger if line.dtype in _FLOATS and line.dtype != scheme.weights]
    return sum(line.weights for line in wide), sum(line.count for line in wide)
