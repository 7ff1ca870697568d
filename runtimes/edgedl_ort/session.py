"""One onnxruntime.InferenceSession behind edgedl's Session."""

from __future__ import annotations

from typing import Any

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidProtobuf

from edgedl.artifact import Artifact, Manifest
from edgedl.errors import EngineFailed, InvalidArtifact, InvalidTensor
from edgedl.runtime import NO_OPTIONS, Options, Session, Source, option_value
from edgedl.spec import Array, Feeds, TensorSpec, axis_names
from edgedl_ort.bound import BoundRun
from edgedl_ort.providers import (
    check_device,
    check_taken,
    forbid_fallback,
    precision_of,
    providers,
    refusal,
    with_transfers,
)

_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int16)": "int16", "tensor(int8)": "int8", "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}  # fmt: skip
_LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_MODES = {
    "sequential": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
    "parallel": onnxruntime.ExecutionMode.ORT_PARALLEL,
}
_SWITCH = {"0": False, "1": True}
_TWICE = "two nodes with same node name"
"""What onnxruntime says to a file that ONNX allows"""


class OrtSession(Session):
    """`InferenceSession.run` checks names, dtypes and shapes itself; edgedl only explains its refusals."""

    def __init__(self, source: Source, device: str, threads: int | None, options: Options = NO_OPTIONS) -> None:
        assert isinstance(source, Artifact)
        session = open_session(source, device, session_options(threads, options), options)
        super().__init__(
            _specs(session.get_inputs()),
            _specs(session.get_outputs()),
            " ".join(["onnxruntime", onnxruntime.__version__, precision_of(device, options)]).strip(),
            device,
        )
        _hold_against(self, source.manifest)
        self._session, self._names = session, [spec.name for spec in self.outputs]
        if not with_transfers(device, options):
            self.timed = BoundRun(session, self._names, "cuda").timed
        self._run = session._sess.run  # what InferenceSession.run passes on to, after checks that are made again there

    def _invoke(self, feeds: Feeds) -> dict[str, Array]:
        if len(feeds) != len(self.inputs):
            raise InvalidTensor(f"expected {len(self.inputs)} inputs, got {len(feeds)}")
        names = self._names
        return dict(zip(names, self._run(names, feeds, None)))  # noqa: B905 - strict costs as much as the rest


def open_session(source: Artifact, device: str, settings: Any, options: Options = NO_OPTIONS) -> Any:
    """onnxruntime.InferenceSession on exactly that device."""
    check_device(device, options)
    forbid_fallback(settings, device, options)
    session = _session(source, device, settings, options)
    check_taken(session, device)
    return session


def session_options(threads: int | None, chosen: Options) -> Any:
    """onnxruntime.SessionOptions; UnknownName for a value that an option does not have."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what onnxruntime refuses comes as an exception
    options.graph_optimization_level = option_value(chosen, "optimization", _LEVELS, "all")
    options.execution_mode = option_value(chosen, "execution", _MODES, "sequential")
    options.enable_cpu_mem_arena = option_value(chosen, "arena", _SWITCH, "1")
    if option_value(chosen, "exact", _SWITCH, "0"):
        options.add_session_config_entry("session.x64quantprecision", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if threads is not None or "spinning" in chosen:
        spinning = option_value(chosen, "spinning", _SWITCH, "0" if threads == 1 else "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return options


def _session(source: Artifact, device: str, settings: Any, options: Options) -> Any:
    chosen = providers(device, options)
    try:
        try:
            return onnxruntime.InferenceSession(str(source.path), settings, providers=chosen, enable_fallback=0)
        except Exception as error:
            if _TWICE not in str(error) or (renamed := _with_own_node_names(str(source.path))) is None:
                raise
            return onnxruntime.InferenceSession(renamed, settings, providers=chosen, enable_fallback=0)
    except InvalidProtobuf as error:
        raise InvalidArtifact(f"{source.path} is not a whole ONNX model: export it again") from error
    except Exception as error:
        raise refusal(str(source.path), device, str(error)) from error


def _with_own_node_names(path: str) -> bytes | None:
    """The model without the names of its nodes, which mean nothing to it; None where the package onnx is missing."""
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    return bytes(model.SerializeToString())


def _specs(arguments: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(arg.name, axis_names(arg.name, arg.shape or ()), _dtype(arg)) for arg in arguments)


def _dtype(argument: Any) -> str:
    if argument.type not in _DTYPES:
        raise InvalidTensor(
            f"{argument.name} is a {argument.type}: edgedl carries tensors of {', '.join(_DTYPES.values())}"
        )
    return _DTYPES[argument.type]


def _hold_against(session: Session, manifest: Manifest | None) -> None:
    for side in ("inputs", "outputs") if manifest else ():
        told, there = ([spec.name for spec in getattr(thing, side)] for thing in (manifest, session))
        if told != there:
            raise EngineFailed(f"the file's {side} are {there}, its manifest says {told}: export it again")
