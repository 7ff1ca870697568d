"""What `session.run` costs above the bare engine call, on a model that adds two numbers: `python benchmarks/session_overhead.py`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import numpy as np
from _ratio import interleaved, sentence

from edgedl import load
from edgedl.spec import Array

MODELS = files("edgedl") / "models"


def bare_ort(path: str, feeds: dict[str, Array]) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def bare_litert(path: str, feeds: dict[str, Array]) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    arrays = [(detail["index"], feeds[detail["name"]]) for detail in interpreter.get_input_details()]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run() -> object:
        for index, array in arrays:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run


def bare_openvino(path: str, feeds: dict[str, Array]) -> Callable[[], object]:
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": "1", "ENABLE_CPU_PINNING": "NO"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()
    arrays = [feeds[port.any_name] for port in compiled.inputs]

    def run() -> object:
        for number, array in enumerate(arrays):
            request.set_input_tensor(number, openvino.Tensor(array, shared_memory=True))
        request.infer()
        return [request.get_output_tensor(number).data.copy() for number in range(len(compiled.outputs))]

    return run


ENGINES = (("ort", "onnx", bare_ort), ("litert", "tflite", bare_litert), ("openvino", "onnx", bare_openvino))


def main() -> None:
    feeds = {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    for runtime, suffix, bare in ENGINES:
        path = str(MODELS / f"sum.{suffix}")
        session = load(path, runtime, threads=1)
        ratios = interleaved(lambda s=session: s.run(feeds), bare(path, feeds), rounds=100, runs=2000)
        print(sentence(f"session.run over the bare call, {session.engine}", ratios, 1.05))


if __name__ == "__main__":
    main()
