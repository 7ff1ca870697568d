"""One compiled OpenVINO model behind edgedl's Session."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidArtifact, InvalidTensor, Unavailable
from edgedl.runtime import NO_OPTIONS, Options, Session, Source, dequantize, option_value
from edgedl.spec import Array, Feeds, TensorSpec
from edgedl_openvino.names import specs
from edgedl_openvino.requests import RequestPool
from edgedl_openvino.sixteen import keep_rounded_values

_PRECISIONS = {"auto": "", "f32": "f32", "bf16": "bf16", "f16": "f16"}
_CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
_HINTS = {"latency": "LATENCY", "throughput": "THROUGHPUT"}
_SWITCH = {"0": "NO", "1": "YES"}
_NAMES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenvinoSession(Session):
    """OpenVINO converts a wrong dtype without a word, so that dtypes and shapes are checked here.

    counters: whether each node is timed, which costs a little. engine: name, version and the precision in which the float parts run.
    """

    def __init__(
        self,
        source: Source,
        device: str,
        threads: int | None,
        options: Options = NO_OPTIONS,
        counters: bool = False,
    ) -> None:
        assert isinstance(source, Artifact)
        if device != "cpu":
            raise Unavailable(f"device {device!r} is not here: OpenVINO runs on 'cpu' in edgedl")
        compiled = _compiled(source, threads, options, counters)
        told = (source.manifest.inputs, source.manifest.outputs) if source.manifest else (None, None)
        super().__init__(
            specs(compiled.inputs, told[0]),
            specs(compiled.outputs, told[1]),
            f"openvino {openvino.__version__.split('-')[0]}, {precision_of(compiled)}",
            device,
        )
        self._requests = RequestPool(compiled)
        self._expected = [(spec.name, np.dtype(spec.dtype), spec) for spec in self.inputs]
        self._names = [spec.name for spec in self.outputs]
        self._quantized = [spec for spec in self.outputs if spec.quantization]

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        arrays = [_checked(feeds[name], dtype, spec) for name, dtype, spec in self._expected]
        if len(feeds) != len(arrays):
            raise InvalidTensor(f"expected {len(arrays)} inputs, got {len(feeds)}")
        request = self._requests.take()
        try:
            results = request.run(arrays)
        finally:
            self._requests.give_back(request)
        outputs = dict(zip(self._names, results))  # noqa: B905 - strict costs as much as the rest
        for spec in self._quantized:
            assert spec.quantization
            outputs[spec.name] = dequantize(outputs[spec.name], spec.quantization)
        return outputs

    def counters(self) -> list[Any]:
        """OpenVINO's ProfilingInfo of each node in the last run; for a session with `counters`."""
        request = self._requests.take()
        info = request.profiling_info()
        self._requests.give_back(request)
        return info


def _checked(array: Array, dtype: np.dtype[Any], spec: TensorSpec) -> Array:
    if array.dtype != dtype or not (array.shape == spec.shape or spec.accepts(array.shape)):
        raise InvalidTensor(f"input {spec.name!r} is {array.dtype}{list(array.shape)}, expected {spec}")
    return array


def _compiled(source: Artifact, threads: int | None, options: Options, counters: bool) -> Any:
    precision = option_value(options, "precision", _PRECISIONS, "auto")
    core = openvino.Core()
    config = {"PERFORMANCE_HINT": option_value(options, "hint", _HINTS, "latency")}
    config["PERF_COUNT"] = "YES" if counters else "NO"
    config["ENABLE_CPU_PINNING"] = option_value(options, "pinning", _SWITCH, "0")
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    if precision:
        _check_capability(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        config["INFERENCE_PRECISION_HINT"] = precision
    try:
        model = core.read_model(str(source.path))
        keep_rounded_values(model)
        compiled = core.compile_model(model, "CPU", config)
    except Exception as error:
        raise _refusal(source, str(error)) from error
    if precision and precision_of(compiled) != precision:
        raise Unavailable(f"precision={precision}: openvino took {precision_of(compiled)} instead")
    return compiled


def _check_capability(precision: str, capabilities: list[str]) -> None:
    """OpenVINO would take float32 instead, and not say so."""
    if _CAPABILITIES[precision] not in capabilities:
        known = ", ".join(name for name, told in _CAPABILITIES.items() if told in capabilities)
        raise Unavailable(f"precision={precision} is not here: this processor computes in {known}")


def precision_of(compiled: Any) -> str:
    """In which the float parts run: `f32`, `bf16` or `f16`; int8 operators stay int8."""
    told = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return _NAMES.get(told, str(told))


def _refusal(source: Artifact, said: str) -> EngineFailed | InvalidArtifact:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Exception from")]
    reason = lines[0] if lines else "no reason given"
    damaged = any(
        word in said.lower() for word in ("parsing", "protobuf", "not a valid", "flatbuffer", "unable to read")
    )
    if damaged and not source.manifest:
        return InvalidArtifact(f"{source.path} is not a whole {source.format} model ({reason}): export it again")
    return EngineFailed(f"openvino cannot load {source.path}: {reason}")
