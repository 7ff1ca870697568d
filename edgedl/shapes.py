"""Several fixed shapes of one model: dynamic axes that take only the lengths that were named.

A format with dynamic axes carries any length; TFLite gets a signature for each, in one file that holds the weights once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgedl.errors import InvalidInput
from edgedl.spec import Array, Axis, plain
from edgedl.task import Task

Shape = dict[str, tuple[int, ...]]
"""input name -> its shape"""


def parse_shape(text: str) -> Shape:
    """`x=1x16x40`, or `tokens=1x16,mask=1x16` for several inputs."""
    shape: Shape = {}
    for part in text.split(","):
        name, equals, lengths = part.partition("=")
        if not name or not equals or not all(n.isdigit() and int(n) > 0 for n in lengths.split("x")):
            raise InvalidInput(
                f"--shape {text!r} is not INPUT=SHAPE[,INPUT=SHAPE], as in x=1x16x40 or tokens=1x16,mask=1x16"
            )
        shape[name] = tuple(map(int, lengths.split("x")))
    return shape


def with_shapes(task: Task, texts: Sequence[str]) -> Task:
    """The task with a signature for each shape; the axes in which they differ are dynamic, all others are fixed.

    InvalidInput if a shape does not fit the inputs.
    """
    if not texts:
        return task
    examples = plain(task.example_inputs())
    known = {name: array.shape for name, array in examples.items()}
    shapes = [{**known, **_checked(parse_shape(text), known, text)} for text in texts]
    names = _axis_names(task, shapes)
    axes: dict[str, dict[int, str | Axis]] = {}
    for (name, number), axis in names.items():
        lengths = [shape[name][number] for shape in shapes]
        axes.setdefault(name, {})[number] = Axis(axis, min(lengths), max(lengths))
    signatures = ({axis: shape[name][number] for (name, number), axis in names.items()} for shape in shapes)
    distinct = tuple(dict(items) for items in dict.fromkeys(tuple(lengths.items()) for lengths in signatures))
    resized = {name: _resized(array, shapes[0][name]) for name, array in examples.items()}
    fixed = replace(task, example_inputs=lambda: resized, dynamic_axes=axes, signatures=distinct if names else ())
    return fixed if names or not task.calibration else replace(fixed, calibration=lambda: _cut(task, shapes[0]))


def _cut(task: Task, shape: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, Array]]:
    """The calibration inputs, all their rows, at the one shape that there is."""
    assert task.calibration
    for feeds in task.calibration():
        yield {name: _resized(array, (len(array), *shape[name][1:])) for name, array in plain(feeds).items()}


def _resized(array: Array, shape: tuple[int, ...]) -> Array:
    """Cut, or repeated from the start, to the shape."""
    for number, length in enumerate(shape):
        array = array.take(np.arange(length) % array.shape[number], axis=number)
    return array


def _checked(shape: Shape, examples: Mapping[str, tuple[int, ...]], text: str) -> Shape:
    for name, lengths in shape.items():
        if name not in examples or len(lengths) != len(examples[name]):
            known = ", ".join(f"{n} of {len(s)} axes" for n, s in examples.items())
            raise InvalidInput(f"--shape {text!r}: {name!r} of {len(lengths)} axes is not among the inputs ({known})")
    return shape


def _axis_names(task: Task, shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> dict[tuple[str, int], str]:
    """(input, axis) -> axis name, for the axes that differ; axes that always have one length share a name."""
    names: dict[tuple[str, int], str] = {}
    by_lengths: dict[tuple[int, ...], str] = {}
    for name, first in shapes[0].items():
        for number in range(len(first)):
            lengths = tuple(shape[name][number] for shape in shapes)
            declared = task.dynamic_axes.get(name, {}).get(number)
            if len(set(lengths)) > 1:
                told = declared.name if isinstance(declared, Axis) else declared
                names[name, number] = by_lengths.setdefault(lengths, told or f"{name}_{number}")
    return names
