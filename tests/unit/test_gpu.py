"""Runs on a GPU, on machines that have none: providers, precisions and timing through stand-ins for the engines' own objects.

What is real here: onnxruntime's refusals and io-binding on the processor, torch's precisions and compilation there.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch

from edgedl import Artifact, load
from edgedl.errors import EngineFailed, InvalidInput, Unavailable, UnknownName
from edgedl.isolated import IsolatedSession
from edgedl.runtime import Session
from edgedl.worker import host_timed
from edgedl_ort.bound import BoundRun
from edgedl_torch.events import EventTimer

SUM = Artifact(Path(str(files("edgedl") / "models" / "sum.onnx")))
ONE = np.array([1], np.float32)
FEEDS = {"a": ONE, "b": 2 * ONE}
NO_KERNEL = (
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : This session contains graph nodes that are assigned to the default CPU EP, "
    "but fallback to CPU EP has been explicitly disabled by the user."
)
"""onnxruntime's own words: onnxruntime/core/session/inference_session.cc"""


class Gpu:
    """onnxruntime.InferenceSession on a machine with a GPU: it keeps what it was asked for and runs on the processor."""

    made: ClassVar[list[Gpu]] = []
    taken: ClassVar[list[str] | None] = None
    error: ClassVar[str | None] = None

    def __init__(
        self, path: str, settings: Any, providers: list[tuple[str, dict[str, str]]], enable_fallback: int
    ) -> None:
        if self.error:
            raise RuntimeError(self.error)
        self.settings, self.providers, self.enable_fallback = settings, providers, enable_fallback
        self.real = REAL(path, providers=["CPUExecutionProvider"])
        self._sess = self.real._sess
        Gpu.made.append(self)

    def get_providers(self) -> list[str]:
        return self.taken or [name for name, _ in self.providers]

    def get_inputs(self) -> Any:
        return self.real.get_inputs()

    def get_outputs(self) -> Any:
        return self.real.get_outputs()


REAL = onnxruntime.InferenceSession


@pytest.fixture()
def gpu(monkeypatch: pytest.MonkeyPatch) -> type[Gpu]:
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Gpu)
    monkeypatch.setattr(Gpu, "made", [])
    return Gpu


def _entry(made: Gpu, key: str) -> str | None:
    try:
        return str(made.settings.get_session_config_entry(key))
    except RuntimeError:
        return None


@pytest.mark.parametrize(
    ("device", "options", "engine", "first"),
    [
        ("cuda", {}, "fp32", ("CUDAExecutionProvider", {"use_tf32": "0"})),
        ("cuda", {"precision": "tf32"}, "tf32", ("CUDAExecutionProvider", {"use_tf32": "1"})),
        ("tensorrt", {}, "fp32", ("TensorrtExecutionProvider", {"trt_fp16_enable": "0", "trt_int8_enable": "0"})),
        ("tensorrt", {"precision": "fp16"}, "fp16", ("TensorrtExecutionProvider", {"trt_fp16_enable": "1", "trt_int8_enable": "0"})),
        ("tensorrt", {"precision": "int8"}, "int8", ("TensorrtExecutionProvider", {"trt_fp16_enable": "1", "trt_int8_enable": "1"})),
    ],
)  # fmt: skip
def test_a_device_is_its_provider_in_the_precision_that_is_told(
    gpu: type[Gpu], device: str, options: dict[str, str], engine: str, first: tuple[str, dict[str, str]]
) -> None:
    session = load(SUM, "ort", device, options=options)
    (made,) = gpu.made
    assert made.providers[0] == first
    assert session.engine == f"onnxruntime {onnxruntime.__version__} {engine}"
    assert session.device == device
    assert session.run(FEEDS)["sum"].tolist() == [3.0]


def test_falling_back_is_forbidden_unless_it_is_allowed(gpu: type[Gpu]) -> None:
    load(SUM, "ort", "cuda")
    load(SUM, "ort", "cuda", options={"fallback": "1"})
    assert [made.enable_fallback for made in gpu.made] == [0, 0]
    assert [_entry(made, "session.disable_cpu_ep_fallback") for made in gpu.made] == ["1", None]


def test_another_provider_than_the_wanted_one_is_an_error(gpu: type[Gpu], monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime-gpu does where CUDA's libraries are missing: a warning, and the processor."""
    monkeypatch.setattr(Gpu, "taken", ["CPUExecutionProvider"])
    with pytest.raises(Unavailable, match="'cuda' could not be used: onnxruntime fell back to CPUExecutionProvider"):
        load(SUM, "ort", "cuda")


def test_operators_without_a_kernel_are_told(gpu: type[Gpu], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "error", NO_KERNEL)
    with pytest.raises(Unavailable, match=r"no kernel for some operators of .*sum\.onnx: --option fallback=1"):
        load(SUM, "ort", "cuda")
    monkeypatch.setattr(Gpu, "error", "out of memory\nat line 3")
    with pytest.raises(EngineFailed, match=r"cannot load .*sum\.onnx: out of memory$"):
        load(SUM, "ort", "cuda")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_without_a_gpu_onnxruntime_says_so(device: str) -> None:
    with pytest.raises(Unavailable, match=rf"'{device}' is not here: this onnxruntime has no .*edgedl\[ort-gpu\]"):
        load(SUM, "ort", device)


@pytest.mark.parametrize(
    ("device", "options", "error", "said"),
    [
        ("cpu", {"precision": "fp16"}, InvalidInput, "precision: it is for --device cuda and tensorrt, not cpu"),
        ("cpu", {"transfers": "0"}, InvalidInput, "transfers: it is for"),
        ("cuda", {"precision": "int8"}, UnknownName, "fp32, tf32"),
        ("cuda", {"transfers": "no"}, UnknownName, "0, 1"),
        ("vulkan", {}, UnknownName, "cpu, cuda, tensorrt"),
    ],
)
def test_wrong_calls(gpu: type[Gpu], device: str, options: dict[str, str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load(SUM, "ort", device, options=options)


def test_bound_runs_keep_what_was_seen_on_the_device() -> None:
    """On the processor, where io-binding is the same but for the place of the memory."""
    session = REAL(str(SUM.path), providers=["CPUExecutionProvider"])
    bound, other = BoundRun(session, ["sum"], "cpu"), {"a": 5 * ONE, "b": ONE}
    results = [bound.timed(feeds) for feeds in (FEEDS, other, FEEDS)]
    assert [outputs["sum"].tolist() for _, outputs in results] == [[3.0], [6.0], [3.0]]
    assert all(spent > 0 for spent, _ in results)
    assert len(bound._bound) == 2


def test_without_transfers_the_session_times_itself(gpu: type[Gpu]) -> None:
    assert load(SUM, "ort", "cuda").timed is None
    assert load(SUM, "ort", "cuda", options={"transfers": "0"}).timed is not None


class Event:
    """A CUDA event of a GPU on which the module takes 2 ms and each copy 0.5 ms, while the host's clock stands still."""

    now: ClassVar[float] = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = Event.now

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return end.at - self.at


def _advance(milliseconds: float, result: Any) -> Any:
    Event.now += milliseconds
    return result


@pytest.mark.parametrize(("transfers", "nanoseconds"), [(True, 3_000_000), (False, 2_000_000)])
def test_torch_is_timed_by_the_gpus_events(monkeypatch: pytest.MonkeyPatch, transfers: bool, nanoseconds: int) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    timer = EventTimer(
        lambda feeds: _advance(0.5, [torch.from_numpy(feeds["a"])]),
        lambda tensor: _advance(2.0, (2 * tensor,)),
        lambda outputs: _advance(0.5, {"y": outputs[0].numpy()}),
        transfers,
    )
    for _ in range(2):
        spent, outputs = timer.timed(FEEDS)
        assert (spent, outputs["y"].tolist()) == (nanoseconds, [2.0])


def test_the_host_times_what_has_no_clock_of_its_own() -> None:
    spent, outputs = host_timed(lambda feeds: dict(feeds))(FEEDS)
    assert spent > 0 and outputs == FEEDS


def test_a_session_that_times_itself_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgedl.worker import Worker

    class Slow(Session):
        def _invoke(self, feeds: Any) -> Any:
            raise AssertionError("timed is there")

        def timed(self, feeds: Any) -> Any:  # type: ignore[override]
            return 12345, {}

    worker = Worker()
    worker.session = Slow((), (), "slow", "cuda")
    worker.feed({"sets": 1}, {})
    assert worker.measure({"runs": 3, "seconds": 0}, {})[1]["wall_ns"].tolist() == [12345] * 3


NET = """
import torch
from torch import nn
import edgedl
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
task = edgedl.Task("net", make, lambda: {"x": torch.linspace(-1, 1, 4).reshape(1, 4)})
"""


@pytest.fixture()
def reference(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:task"


@pytest.mark.parametrize(("precision", "error"), [("bf16", 2e-2), ("fp16", 3e-3)])
def test_torch_computes_in_the_precision_that_is_asked_for(reference: str, precision: str, error: float) -> None:
    feeds = {"x": np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)}
    want = load(reference, "torch").run(feeds)
    session = load(reference, "torch", options={"precision": precision})
    got = session.run(feeds)
    name = session.outputs[0].name
    assert session.engine.endswith(f", {precision}") and session.outputs[0].dtype == "float32"
    assert 0 < np.abs(got[name] - want[name]).max() <= error


def test_torch_compiles_the_module(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    assert load(reference, "torch", options={"compile": "1"}).engine.endswith(", compiled")
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"transfers": "0"}, InvalidInput, "transfers: it is for --device cuda"),
        ({"precision": "tf32"}, InvalidInput, "precision=tf32: it is for --device cuda"),
        ({"precision": "int8"}, UnknownName, "bf16, fp16, fp32"),
        ({"compile": "yes"}, UnknownName, "0, 1"),
    ],
)
def test_wrong_calls_of_torch(reference: str, options: dict[str, str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load(reference, "torch", options=options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_torch_says_so(reference: str) -> None:
    with pytest.raises(Unavailable, match="torch sees no GPU"):
        load(reference, "torch", "cuda")
    with pytest.raises(Unavailable, match="torch sees no GPU"):
        IsolatedSession(load_reference(reference), "torch", "cuda")


def load_reference(text: str) -> Any:
    from edgedl.runtime import as_source

    return as_source(text)


@pytest.mark.slow
def test_torch_compile_agrees_with_eager(reference: str) -> None:
    feeds = {"x": np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)}
    eager, compiled = (load(reference, "torch", options={"compile": flag}).run(feeds) for flag in "01")
    for name, values in eager.items():
        np.testing.assert_allclose(compiled[name], values, atol=1e-6)
