"""The target: figures of one model for one board, for all boards or for an NPU; nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, UnknownName, Unsupported
from edgedl.isolated import IsolatedSession
from edgedl.lifetimes import Lifetimes
from edgedl.measure import BenchmarkRecord, FeedsOf, Figure, Measured, Plan, Subject, describe
from edgedl.measure.environment import environment
from edgedl.measure.harness import Progress
from edgedl.measure.runner import failure_of
from edgedl.predict.prediction import predict, workload_of
from edgedl.predict.target import figures as predicted_figures
from edgedl.runtime import Session, Source
from edgedl.targets.mcu import ethos
from edgedl.targets.mcu.arena import arena
from edgedl.targets.mcu.boards import BOARDS, Board
from edgedl.targets.mcu.fit import STACK, Fit, fit
from edgedl.targets.mcu.flash import flash
from edgedl.targets.mcu.operators import missing
from edgedl.targets.target import Target, TargetKind


class McuTarget(Target):
    """One board, or with none all of them."""

    def __init__(self, board: Board | None) -> None:
        super().__init__(f"mcu:{board.name}" if board else "mcu")
        self.board = board

    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Progress
    ) -> BenchmarkRecord:
        found = []
        for done, subject in enumerate(subjects, start=1):
            found.append(self._one(subject, plan))
            progress(done, len(subjects))
        return BenchmarkRecord(tuple(found), plan, environment())

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        """The reference kernels of TensorFlow Lite Micro, on this machine; Unsupported for a board, on which nothing runs."""
        if self.board:
            raise Unsupported(f"nothing runs on {self.name}: --target mcu runs TensorFlow Lite Micro's kernels here")
        return IsolatedSession(tflite(source), "tflm" if runtime == "auto" else runtime, threads=1)

    def _one(self, subject: Subject, plan: Plan) -> Measured:
        measured = replace(describe(subject), target=self.name, threads=1)
        try:
            source = tflite(subject.source)
            return replace(measured, **self._found(source, plan))
        except EdgedlError as error:
            return replace(measured, failure=failure_of(error))

    def _found(self, source: Artifact, plan: Plan) -> dict[str, Any]:
        lives = lifetimes(source)
        needed = arena(source.path, lives, plan.timeout)
        ram, how = needed.figure(), (needed.note,) if needed.note else ()
        rom = flash(source.path.stat().st_size, lives.operators)
        told = {"engine": "TFLM", "figures": (ram, rom)}
        if self.board is None:
            return {**told, "notes": (*_everywhere(source, [fit(board, ram, rom) for board in BOARDS.values()]), *how)}
        one, (latency, doubt) = fit(self.board, ram, rom), _latency(source, self.board)
        return {
            **told, "figures": (ram, rom, *latency), "notes": (*_of_board(source, one), *doubt, *how),
            "objection": f"{source.path.name} {one.sentence}" if one.reasons else None,
        }  # fmt: skip


def tflite(source: Source) -> Artifact:
    """Unsupported for what is no TFLite file."""
    if not isinstance(source, Artifact) or source.format != "tflite":
        raise Unsupported("a microcontroller takes one .tflite file, and this is none: export it with --to tflite")
    if source.group:
        raise Unsupported("a microcontroller takes one .tflite file, and this is a group: name one of its members")
    return source


def lifetimes(source: Artifact) -> Lifetimes:
    """Unsupported where a kernel is missing."""
    found: Lifetimes = registry.exporter("tflite").lifetimes(source.path)  # type: ignore[attr-defined]
    if absent := missing(found.operators):
        raise Unsupported(f"TensorFlow Lite Micro has no kernel for {', '.join(absent)}")
    scheme = workload_of(source).scheme
    if scheme == "w8a8-dynamic":
        raise Unsupported(
            "TensorFlow Lite Micro has no kernels for float activations with int8 weights: use --scheme w8a8"
        )
    return found


def _latency(source: Artifact, board: Board) -> tuple[list[Figure], tuple[str, ...]]:
    """(figures, why there are none): a prediction from what was published for this very board."""
    if board.predicted is None:
        return [], (f"No latency: nothing published for {board.name} was fitted (see: edgedl targets)",)
    try:
        return predicted_figures(predict(workload_of(source), board.predicted)), ()
    except EdgedlError as error:
        return [], (f"No latency: {error}",)


def _of_board(source: Artifact, one: Fit) -> tuple[str, ...]:
    board = one.board
    about = f"{board.name}: {board.chip}, {board.core}; {board.source}"
    return f"{source.path.name} {one.sentence}", about, _LEFT


def _everywhere(source: Artifact, fits: Sequence[Fit]) -> tuple[str, ...]:
    words = {word: [f.board.name for f in fits if f.verdict == word] for word in ("fits", "may fit", "does not fit")}
    return (*(f"{source.path.name} {word} on {', '.join(names)}" for word, names in words.items() if names), _LEFT)


_LEFT = f"{STACK / 1000:g} kB of RAM are left to the stack; nothing ran on a microcontroller"


class EthosTarget(McuTarget):
    """An NPU beside a microcontroller."""

    def __init__(self, npu: str) -> None:
        super().__init__(None)
        self.name, self.npu = f"mcu:{npu}", npu
        ethos.available()

    def session(self, source: Source, runtime: str = "auto", threads: int | None = None) -> Session:
        raise Unsupported(f"{self.name} gives an estimate and no outputs: verify on mcu")

    def _found(self, source: Artifact, plan: Plan) -> dict[str, Any]:
        figures, note = ethos.estimate(source.path, self.npu, plan.timeout)
        return {"engine": "vela", "figures": tuple(figures), "notes": (f"{source.path.name} on {self.npu}: {note}",)}


class McuKind(TargetKind):
    """Microcontrollers by name, or all known ones."""

    name = "mcu"
    summary = "whether a .tflite file fits a microcontroller: operators, arena, flash; Ethos-U by vela"
    example = "mcu:arduino-nano-33-ble"

    def open(self, detail: str) -> Target:
        if detail in ethos.NPUS:
            return EthosTarget(detail)
        if detail and detail not in BOARDS:
            raise UnknownName("board", detail, [*BOARDS, *ethos.NPUS])
        return McuTarget(BOARDS[detail] if detail else None)


kind = McuKind()
