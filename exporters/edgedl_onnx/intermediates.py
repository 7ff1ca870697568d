"""Every tensor that an ONNX model computes on the way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgedl.spec import Array, Feeds
from edgedl_onnx.graph import read


def intermediates(path: Path, feeds: Feeds) -> Iterable[tuple[str, Array]]:
    """(name, array) in the order of computation, floating point tensors only: what an integer holds, its float neighbours hold too."""
    model = read(path)
    computed = [name for node in model.graph.node for name in node.output if name]
    outputs = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip((o.name for o in session.get_outputs()), session.run(None, dict(feeds)), strict=True))
    for name in computed:
        if isinstance(values[name], np.ndarray) and values[name].dtype.kind == "f":
            yield name, values[name]
