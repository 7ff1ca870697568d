"""The values of a model's tensors over calibration inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
import onnxruntime

from edgedl.errors import InvalidInput
from edgedl.exporter import Calibration
from edgedl.spec import Array


def required(scheme: str, calibration: Calibration | None) -> Calibration:
    if calibration is None:
        raise InvalidInput(f"{scheme} needs calibration inputs: give --calibration inputs.npz, or a task that has them")
    return calibration


class Observer:
    """A model whose tensors can be looked at. kinds: of their dtypes, as numpy names them."""

    def __init__(self, model: onnx.ModelProto, names: Collection[str], kinds: str = "f") -> None:
        self._kinds, probed = kinds, onnx.ModelProto()
        probed.CopyFrom(model)
        given = {value.name for value in (*model.graph.output, *model.graph.input)}
        made = {name for node in model.graph.node for name in node.output}
        self._fed = [value.name for value in model.graph.input if value.name in names]
        self._asked = [name for name in dict.fromkeys(names) if name in made]
        probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._asked if name not in given)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            probed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def values(self, calibration: Calibration) -> Iterator[tuple[str, Array]]:
        """(tensor, values) of every tensor of these kinds for every batch. InvalidInput if there is none."""
        empty = True
        for feeds in calibration():
            empty = False
            yield from ((name, np.asarray(feeds[name])) for name in self._fed if feeds[name].dtype.kind in self._kinds)
            if self._asked:
                yield from self._run(dict(feeds))
        if empty:
            raise InvalidInput("the calibration data is empty: expected one dictionary of arrays or more")

    def _run(self, feeds: dict[str, Array]) -> Iterator[tuple[str, Array]]:
        for name, array in zip(self._asked, self._session.run(self._asked, feeds), strict=True):
            if isinstance(array, np.ndarray) and array.dtype.kind in self._kinds:
                yield name, array
