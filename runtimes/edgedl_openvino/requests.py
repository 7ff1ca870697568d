"""Inference requests whose input tensors stay bound from one run to the next; a request serves one caller at a time."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import openvino

from edgedl.spec import Array

COPIED_BYTES = 16_384
"""Up to this size, copying an input into a bound tensor is cheaper than binding a new one, which takes about 3 microseconds."""


class BoundRequest:
    """One request of a compiled model, with the memory of its inputs: OpenVINO does not keep the arrays that it reads alive."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs: dict[int, Array] = {}
        self._outputs = range(len(compiled.outputs))

    def run(self, arrays: list[Array]) -> list[Array]:
        """Run C-ordered or other arrays of the right dtypes, in the order of the inputs.

        Returns:
            Copies of the outputs, in their order.
        """
        for number, array in enumerate(arrays):
            self._feed(number, array)
        request = self._request
        request.infer()
        return [request.get_output_tensor(number).data.copy() for number in self._outputs]

    def profiling_info(self) -> list[Any]:
        return list(self._request.get_profiling_info())

    def _feed(self, number: int, array: Array) -> None:
        bound = self._inputs.get(number)
        if array.nbytes > COPIED_BYTES or bound is None or bound.shape != array.shape:
            self._bind(number, array)
        else:
            bound[...] = array

    def _bind(self, number: int, array: Array) -> None:
        """Read a large array where it lies, and a small one from a copy that stays bound."""
        owned = array if array.nbytes > COPIED_BYTES and _is_shareable(array) else np.array(array, order="C")
        self._request.set_input_tensor(number, openvino.Tensor(owned, shared_memory=True))
        self._inputs[number] = owned


def _is_shareable(array: Array) -> bool:
    """OpenVINO takes no read-only memory, although it does not write to inputs."""
    return array.flags.c_contiguous and array.flags.writeable


class RequestPool:
    """As many requests as there are callers at the same time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._idle = compiled, deque([BoundRequest(compiled)])

    def take(self) -> BoundRequest:
        """The request that was given back last, or a new one where all are in use."""
        try:
            return self._idle.pop()
        except IndexError:
            return BoundRequest(self._compiled)

    def give_back(self, request: BoundRequest) -> None:
        self._idle.append(request)
