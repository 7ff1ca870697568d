"""A file with several signatures: the one that the shapes of the inputs fit runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedl.errors import InvalidTensor
from edgedl.spec import Array, Feeds, TensorSpec

Shapes = tuple[tuple[int, ...], ...]
"""the shape of each input, in the order of the first signature"""


@dataclass(frozen=True)
class Signature:
    """One entry point: its key, its subgraph, and (name, tensor index) of its inputs and outputs."""

    key: str
    subgraph: int
    inputs: list[tuple[str, int]]
    outputs: list[tuple[str, int]]


def bind(interpreter: Any, lock: AbstractContextManager[Any]) -> Callable[[Feeds], dict[str, Array]]:
    """The run of a file with several signatures; it raises InvalidTensor, naming the shapes that there are, for any others."""
    engine = interpreter._interpreter
    signatures = signatures_of(interpreter)
    for signature in signatures:
        engine.AllocateTensors(signature.subgraph)
    found = {_shapes(engine, signature.inputs, signature.subgraph): signature for signature in signatures}
    names = [name for name, _ in signatures[0].inputs]

    def run(feeds: Feeds) -> dict[str, Array]:
        if feeds.keys() != set(names) or not all(isinstance(array, np.ndarray) for array in feeds.values()):
            raise InvalidTensor(f"expected arrays called {', '.join(names)}")
        shapes = tuple(feeds[name].shape for name in names)
        if shapes not in found:
            raise InvalidTensor(
                f"{_told(names, shapes)} is none of the signatures: {'; '.join(_told(names, s) for s in found)}"
            )
        with lock:
            return _run(engine, found[shapes], feeds)

    return run


def _run(engine: Any, signature: Signature, feeds: Feeds) -> dict[str, Array]:
    for name, index in signature.inputs:
        engine.SetTensor(index, feeds[name], signature.subgraph)
    engine.Invoke(signature.subgraph)
    return {name: engine.GetTensor(index, signature.subgraph) for name, index in signature.outputs}


def signatures_of(interpreter: Any) -> list[Signature]:
    """Every signature, its inputs in the order of their names in the first."""
    engine, listed = interpreter._interpreter, interpreter._get_full_signature_list()
    return [
        Signature(
            key,
            engine.GetSubgraphIndexFromSignature(key),
            sorted(sides["inputs"].items()),
            sorted(sides["outputs"].items()),
        )
        for key, sides in listed.items()
    ]


def _shapes(engine: Any, tensors: list[tuple[str, int]], subgraph: int) -> Shapes:
    return tuple(tuple(map(int, engine.TensorSize(index, subgraph))) for _, index in tensors)


def widened(interpreter: Any, specs: tuple[TensorSpec, ...], side: str) -> tuple[TensorSpec, ...]:
    """The specs of a side (`inputs` or `outputs`), with the lengths in which the signatures differ told as `16|64`."""
    engine = interpreter._interpreter
    shapes = [_shapes(engine, getattr(signature, side), signature.subgraph) for signature in signatures_of(interpreter)]
    by_name = dict(zip(sorted(spec.name for spec in specs), zip(*shapes, strict=True), strict=True))
    return tuple(
        TensorSpec(s.name, tuple(map(_length, zip(*by_name[s.name], strict=True))), s.dtype, s.quantization)
        for s in specs
    )


def _length(lengths: tuple[int, ...]) -> int | str:
    distinct = sorted(set(lengths))
    return distinct[0] if len(distinct) == 1 else "|".join(map(str, distinct))


def _told(names: list[str], shapes: Shapes) -> str:
    return ",".join(f"{name}={'x'.join(map(str, shape))}" for name, shape in zip(names, shapes, strict=True))
