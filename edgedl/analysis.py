"""What stands in the way of an export, found in seconds and before the long work: operators, control flow, dynamic axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from edgedl import registry, tracing
from edgedl.exporter import Program
from edgedl.exporting import Subject, resolve
from edgedl.parts import NAMES, Parts
from edgedl.program import program_of
from edgedl.silence import silent
from edgedl.source_lines import user_line, user_line_of
from edgedl.streaming import step_program
from edgedl.task import Task
from edgedl.tracing import trace, why_untraceable


@dataclass(frozen=True)
class Obstacle:
    """format: the one that it stands in the way of. what: one sentence. line: `net.py:12`, None where torch kept none."""

    format: str
    what: str
    line: str | None
    way_round: str

    def __str__(self) -> str:
        return f"{self.format}: {self.what}{f' ({self.line})' if self.line else ''}: {self.way_round}"


def analyze(task: Subject, to: Iterable[str] = ("onnx", "tflite"), *, streaming: bool = False) -> list[Obstacle]:
    """Every obstacle on the way to the formats; empty where none is known. Nothing is written."""
    resolved, _ = resolve(task)
    programs = _programs(resolved)
    programs = [step_program(program).program for program in programs] if streaming else programs
    return [found for name in dict.fromkeys(to) for program in programs for found in _obstacles(program, name)]


def _programs(task: Task) -> list[Program]:
    """The program of a task, or those of the parts of an encoder-decoder."""
    if not task.decoding:
        return [program_of(task, task.model())]
    parts = Parts.of(task)
    members = [parts.as_task(name) for name in NAMES]
    return [program_of(member, member.model()) for member in members]


def _obstacles(program: Program, format: str) -> list[Obstacle]:
    exporter = registry.exporter(format)
    found = []
    prepared = exporter.prepared(program)
    exported: torch.export.ExportedProgram | None
    with silent():
        try:
            exported = trace(prepared, program)
        except Exception as error:
            found.append(_untraceable(format, error))
            exported = _static_trace(prepared, program) if program.dynamic_axes else None
        nodes = exporter.unsupported(exported) if exported else []
    return [*found, *_distinct(Obstacle(format, *_about(node, format)) for node in nodes)]


def _static_trace(module: torch.nn.Module, program: Program) -> torch.export.ExportedProgram | None:
    """The operators of a program whose axes stand in the way are told all the same."""
    try:
        return tracing.export(module, tuple(torch.from_numpy(array) for array in program.inputs.values()))
    except Exception as error:
        assert error  # the trace with dynamic axes failed as well, and has been told
        return None


def _untraceable(format: str, error: Exception) -> Obstacle:
    what, way_round = why_untraceable(error)
    return Obstacle(format, what, user_line_of(error), way_round)


def _about(node: torch.fx.Node, format: str) -> tuple[str, str | None, str]:
    line = user_line(node.meta.get("stack_trace"))
    return f"there is no {format} counterpart of the operator {node.target}", line, "write it with other operators"


def _distinct(obstacles: Iterable[Obstacle]) -> list[Obstacle]:
    return list(dict.fromkeys(obstacles))
