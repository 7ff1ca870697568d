"""The values of a model's tensors over calibration inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgedl.spec import Array, Feeds
from edgedl_tflite import flatbuffer
from edgedl_tflite.quiet import quiet


def values(model: Any, feeds: Iterable[Feeds], names: Collection[str]) -> Iterator[tuple[str, Array]]:
    """(tensor, values) of the named float tensors of the main graph for every batch, which have the file's shapes."""
    with quiet():
        interpreter = Interpreter(
            model_content=flatbuffer.serialize(model), experimental_preserve_all_tensors=True, num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )  # fmt: skip
        interpreter.allocate_tensors()
    asked = {d["index"]: d["name"] for d in interpreter.get_tensor_details() if d["name"] in names}
    given = {flatbuffer.text(e.name): int(e.tensorIndex) for e in model.signatureDefs[0].inputs}
    for feed in feeds:
        _give(interpreter, {index: feed[name] for name, index in given.items()})
        interpreter.invoke()
        yield from (
            (name, array) for index, name in asked.items() if (array := _floats(interpreter, index)) is not None
        )


def _give(interpreter: Any, arrays: dict[int, Array]) -> None:
    shapes = {d["index"]: tuple(d["shape"]) for d in interpreter.get_input_details()}
    if any(shapes[index] != array.shape for index, array in arrays.items()):
        for index, array in arrays.items():
            interpreter.resize_tensor_input(index, array.shape)
        interpreter.allocate_tensors()
    for index, array in arrays.items():
        interpreter.set_tensor(index, array)


def _floats(interpreter: Any, index: int) -> Array | None:
    """A copy, or None for integers and for what the engine keeps no values of."""
    try:
        array = np.asarray(interpreter.get_tensor(index))
    except ValueError:
        return None
    return array if array.dtype.kind == "f" else None
