"""Microcontroller fit: the planner, the estimate against TensorFlow Lite Micro itself, boards, verdicts, refusals."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tflite_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.exporter import Program
from edgedl.lifetimes import ALIGNMENT, Buffer, aligned, planned
from edgedl.measure import BenchmarkRecord, Figure, InputChoice, Measured, Plan, Subject
from edgedl.predict.models import models_of
from edgedl.targets import find
from edgedl.targets.conformance import check
from edgedl.targets.mcu import arena as arenas
from edgedl.targets.mcu import ethos
from edgedl.targets.mcu.arena import estimated, measured
from edgedl.targets.mcu.boards import BOARDS
from edgedl.targets.mcu.fit import STACK, fit
from edgedl.targets.mcu.flash import CORE, flash
from edgedl.targets.mcu.operators import missing
from edgedl_tflite import exporter

SUM = Path(str(files("edgedl") / "models" / "sum.tflite"))
BUFFERS = st.lists(
    st.builds(lambda size, first, more: Buffer(size, first, first + more), *[st.integers(0, 50)] * 3), max_size=20
)


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(arenas, "version", version)


def measure(target: str, *paths: Path) -> BenchmarkRecord:
    subjects = [Subject(path.name, Artifact(path)) for path in paths]
    return find(target).measure(subjects, InputChoice(subjects), Plan(), lambda *_: None)


def one(target: str, path: Path = SUM) -> Measured:
    return measure(target, path).subjects[0]


@given(BUFFERS)
def test_a_plan_is_between_what_is_alive_at_once_and_all(buffers: list[Buffer]) -> None:
    times = range(101)
    alive = max(sum(aligned(b.size) for b in buffers if b.first <= time <= b.last) for time in times)
    assert alive <= planned(buffers) <= sum(aligned(b.size) for b in buffers)


def test_a_plan_uses_memory_again() -> None:
    chain = [Buffer(1600, 0, 1), Buffer(160, 1, 2), Buffer(1600, 2, 3)]
    assert planned(chain) == 1760
    assert planned([Buffer(1, 0, 0)]) == ALIGNMENT


def test_lifetimes_are_those_of_the_graph() -> None:
    lives = exporter.lifetimes(SUM)
    assert lives.operators == ("ADD",)
    assert lives.buffers == ((Buffer(4, 0, 0), Buffer(4, 0, 0), Buffer(4, 0, 0)),)
    assert (lives.inputs, lives.outputs, lives.activations) == (2, 1, 48)


@pytest.mark.parametrize("scheme", [None, "w8a8", "w8"])
@pytest.mark.parametrize("kind", ["mlp", "cnn", "encoder"])
def test_the_estimate_is_above_what_tflite_micro_takes(kind: str, scheme: str | None) -> None:
    pytest.importorskip("tflite_micro")
    path = tflite_models.quantized(kind, scheme) if scheme else tflite_models.exported(kind)
    lives = exporter.lifetimes(path)
    guess, found = estimated(lives).size, measured(path, lives, 60)
    assert found <= guess <= 2 * found


def test_what_tflite_micro_refuses_is_told_in_its_words() -> None:
    pytest.importorskip("tflite_micro")
    path = tflite_models.quantized("cnn", "w8a8-dynamic")
    with pytest.raises(EngineFailed, match=r"TensorFlow Lite Micro cannot run it: .*Hybrid models are not supported"):
        measured(path, exporter.lifetimes(path), 60)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(x)[0],)


def test_what_opens_and_does_not_run_is_told(tmp_path: Path) -> None:
    """TensorFlow Lite Micro opens edgedl's loops and fails in them."""
    pytest.importorskip("tflite_micro")
    path = tmp_path / "recurrent.tflite"
    exporter.export(Program("recurrent", Recurrent().eval(), {"x": np.zeros((1, 20, 4), np.float32)}, ("y",)), path)
    failure = one("mcu", path).failure
    assert failure
    assert failure.message.startswith("TensorFlow Lite Micro cannot run it: Node WHILE")


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(SUM.read_bytes()[:-300])
    failure = one("mcu", path).failure
    assert failure
    assert failure.kind == "InvalidInput"


def test_hybrid_models_are_refused_without_the_package(no_package: None) -> None:
    failure = one("mcu", tflite_models.quantized("mlp", "w8a8-dynamic")).failure
    assert failure
    assert failure.message.endswith("use --scheme w8a8")


def test_operators_without_a_kernel_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(["ADD", "GELU", "CONV_2D", "GELU", "FlexErf"]) == ["GELU", "FlexErf"]
    monkeypatch.setattr("edgedl.targets.mcu.operators.KERNELS", frozenset())
    failure = one("mcu").failure
    assert failure
    assert failure.message == "TensorFlow Lite Micro has no kernel for ADD"


def test_the_estimate_says_so(no_package: None) -> None:
    ram, rom = one("mcu").figures
    assert (ram.name, ram.how, rom.name, rom.how) == ("arena", "estimated", "flash", "estimated")
    assert ram.basis
    assert rom.low
    assert rom.high
    assert rom.low < rom.value < rom.high


def test_flash_is_the_file_and_code_for_each_kind_of_operator() -> None:
    same, more = flash(1000, ("ADD", "ADD")), flash(1000, ("ADD", "MUL"))
    assert flash(1000, ()).value == 1000 + CORE
    assert same.value < more.value


def figure(name: str, value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(name, value, "B", "estimated", low, high)


@pytest.mark.parametrize(
    ("ram", "rom", "sentence"),
    [
        (figure("arena", 1e5), figure("flash", 5e5, 4e5, 6e5), "fits on nrf52840-dk"),
        (
            figure("arena", 3e5), figure("flash", 5e5, 4e5, 6e5),
            "does not fit on nrf52840-dk: it needs 300 kB of RAM for the arena and has 254 kB",
        ),
        (
            figure("arena", 1e5), figure("flash", 1e6, 9e5, 1.1e6),
            "may fit on nrf52840-dk: it needs 1.1 MB of flash and has 1.05 MB",
        ),
        (
            figure("arena", 3e5), figure("flash", 3e6, 2e6, 4e6),
            "does not fit on nrf52840-dk: it needs 300 kB of RAM for the arena and has 254 kB "
            "and it needs 2 MB of flash and has 1.05 MB",
        ),
    ],
)  # fmt: skip
def test_verdicts(ram: Figure, rom: Figure, sentence: str) -> None:
    assert fit(BOARDS["nrf52840-dk"], ram, rom).sentence == sentence


def test_boards_are_whole() -> None:
    for name, board in BOARDS.items():
        assert name == board.name
        assert STACK < board.block <= board.ram
        assert board.flash >= 1 << 20
        assert board.source
        assert board.predicted is None or models_of(board.predicted)


def test_a_model_that_does_not_fit_a_board_is_an_objection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedl.targets.mcu.target.arena", lambda *_: arenas.Arena(10**6, "measured"))
    found = one("mcu:nrf52840-dk")
    assert found.failure is None
    assert (
        found.objection == "sum.tflite does not fit on nrf52840-dk: it needs 1 MB of RAM for the arena and has 254 kB"
    )
    assert one("mcu").objection is None
    assert any("does not fit on arduino-nano-33-ble, nrf52840-dk" in note for note in one("mcu").notes)


def test_latency_is_a_prediction_for_the_very_board_or_none() -> None:
    without = one("mcu:raspberry-pi-pico")
    assert [figure.name for figure in without.figures] == ["arena", "flash"]
    assert "No latency: nothing published for raspberry-pi-pico was fitted (see: edgedl targets)" in without.notes
    refused = one("mcu:nucleo-l4r5zi")
    assert any(note.startswith("No latency: ") for note in refused.notes)


@pytest.mark.parametrize("target", ["mcu", "mcu:arduino-nano-33-ble"])
def test_it_keeps_the_promises_of_a_target(target: str) -> None:
    if target == "mcu":
        pytest.importorskip("tflite_micro")
    check("mcu", target)


def test_an_unknown_board_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'raspberry-pi-pico'"):
        find("mcu:raspbery-pi-pico")


def test_what_is_no_tflite_file_is_refused() -> None:
    failure = one("mcu", SUM.with_suffix(".onnx")).failure
    assert failure
    assert failure.message == "a microcontroller takes one .tflite file, and this is none: export it with --to tflite"


def test_nothing_runs_on_a_board() -> None:
    with pytest.raises(Unsupported, match="nothing runs on mcu:nrf52840-dk"):
        find("mcu:nrf52840-dk").session(Artifact(SUM))


def test_tflite_micro_computes_what_litert_computes() -> None:
    pytest.importorskip("tflite_micro")
    path = tflite_models.quantized("cnn", "w8a8")
    feeds = {"x": tflite_models.sample("cnn", 2)}
    expected = tflite_models.load(path).run(feeds)["y"]
    with find("mcu").session(Artifact(path)) as session:
        got = session.run(feeds)["y"]
        assert session.engine.startswith("tflite-micro ")
        with pytest.raises(InvalidInput, match="has shape"):
            session.run({"x": tflite_models.sample("cnn", 3)})
    assert tflite_models.relative_l2(got, expected) < 0.02


def test_vela_that_is_missing_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ethos, "version", version)
    with pytest.raises(Unavailable, match=r"vela, which is not installed: pip install 'edgedl\[mcu\]'"):
        find("mcu:ethos-u55-128")


def test_vela_estimates_an_npu() -> None:
    pytest.importorskip("ethosu")
    record = measure("mcu:ethos-u55-128", tflite_models.quantized("cnn", "w8a8"), tflite_models.exported("cnn"))
    narrow, wide = record.subjects
    assert {figure.how for figure in narrow.figures} == {"estimated"}
    assert [figure.name for figure in narrow.figures] == ["NPU cycles", "NPU time", "SRAM", "flash for weights"]
    assert all(figure.basis and figure.basis.startswith("vela ") for figure in narrow.figures)
    assert "no measurement" in narrow.notes[0]
    assert wide.failure
    assert "no operator of it runs on ethos-u55-128: quantize it" in wide.failure.message


def test_what_vela_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "vela"
    script.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('Error: it is too odd')\n")
    script.chmod(0o755)
    monkeypatch.setattr("edgedl.targets.mcu.ethos.shutil.which", lambda *_, **__: str(script))
    with pytest.raises(EngineFailed, match="vela cannot compile it: Error: it is too odd"):
        ethos._vela(SUM, "ethos-u55-128", tmp_path, 60)
