"""The execution providers of a device, with their settings; what falls back is an error, unless it is allowed by name.

Settings: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and TensorRT-ExecutionProvider.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime

from edgedl.errors import EngineFailed, InvalidInput, Unavailable, UnknownName
from edgedl.runtime import Options, option_value

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""device -> providers in the order asked for; the first one must be the one that runs"""
GPU_OPTIONS = ("precision", "transfers", "fallback")
"""options that mean nothing on the processor"""

_PRECISIONS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "cuda": {"fp32": {"use_tf32": "0"}, "tf32": {"use_tf32": "1"}},
    "tensorrt": {
        "fp32": {"trt_fp16_enable": "0", "trt_int8_enable": "0"},
        "fp16": {"trt_fp16_enable": "1", "trt_int8_enable": "0"},
        "int8": {"trt_fp16_enable": "1", "trt_int8_enable": "1"},
    },
}
"""device -> precision -> settings of its first provider. fp16 and int8 files bring their own on CUDA."""
_SWITCH = {"0": False, "1": True}
_NO_KERNEL = "assigned to the default CPU EP"


def check_device(device: str, options: Options) -> None:
    """UnknownName for the device, Unavailable where this onnxruntime lacks it, InvalidInput for an option of another one."""
    if device not in PROVIDERS:
        raise UnknownName("device", device, PROVIDERS)
    if device == "cpu" and (given := [name for name in GPU_OPTIONS if name in options]):
        raise InvalidInput(f"option {given[0]}: it is for --device cuda and tensorrt, not cpu")
    wanted = PROVIDERS[device][0]
    if wanted not in onnxruntime.get_available_providers():
        raise Unavailable(
            f"device {device!r} is not here: this onnxruntime has no {wanted} (pip install 'edgedl[ort-gpu]')"
        )


def precision_of(device: str, options: Options) -> str:
    """`fp32` unless another one is chosen; "" on the processor, which has none to choose."""
    if device == "cpu":
        return ""
    option_value(options, "precision", _PRECISIONS[device], "fp32")
    return options.get("precision", "fp32")


def providers(device: str, options: Options) -> list[tuple[str, dict[str, str]]]:
    """For onnxruntime.InferenceSession: (provider, its settings), the wanted one first."""
    first, *others = PROVIDERS[device]
    settings = _PRECISIONS[device][precision_of(device, options)] if device != "cpu" else {}
    return [(first, dict(settings)), *((name, {}) for name in others)]


def forbid_fallback(settings: Any, device: str, options: Options) -> None:
    """Operators without a kernel on the device would run on the processor, and nobody would know."""
    if device != "cpu" and not option_value(options, "fallback", _SWITCH, "0"):
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")


def with_transfers(device: str, options: Options) -> bool:
    """Whether inputs and outputs are copied in every run, as an application would."""
    return device == "cpu" or option_value(options, "transfers", _SWITCH, "1")


def check_taken(session: Any, device: str) -> None:
    """Unavailable where onnxruntime took another provider than the wanted one."""
    if (taken := session.get_providers()[0]) != PROVIDERS[device][0]:
        raise Unavailable(f"device {device!r} could not be used: onnxruntime fell back to {taken}")


def refusal(where: str, device: str, said: str) -> EngineFailed | Unavailable:
    """What onnxruntime said when it could not make a session, as an error of edgedl's."""
    if _NO_KERNEL in said:
        return Unavailable(
            f"device {device!r} has no kernel for some operators of {where}: --option fallback=1 runs those on the processor"
        )
    return EngineFailed(f"onnxruntime cannot load {where}: {said.splitlines()[0]}")
