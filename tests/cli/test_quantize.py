"""`edgedl quantize`: what its options and gates do, as the installed command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Run
from edgedl import Artifact, registry

NET = """
import numpy as np
import torch
from torch import nn
from edgedl import Task

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(4, 8, 3), nn.Linear(8 * 16, 5)
        for weight in self.parameters():
            weight.data = torch.where(torch.arange(weight.numel()).reshape(weight.shape) % 7 > 0, 0.1, -0.05)

    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).flatten(1))

net = Net().eval()
rows = {"x": np.random.default_rng(0).random((16, 4, 6, 6), dtype=np.float32)}

def saturating():
    return Task("net", lambda: net, lambda: {"x": rows["x"][:1]}, {"x": {0: "batch"}}, ("y",), lambda: [rows])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def evidence(path: Path) -> dict[str, Any]:
    manifest = Artifact.open(path).manifest
    assert manifest is not None
    return {**manifest.evidence, "options": manifest.provenance["options"]}


def test_sums_that_saturate_are_told_and_mended(quick_command: Run, folder: Path) -> None:
    words = ("quantize", "net.py:saturating", "--scheme", "w8a8", "--no-speed-check")
    done = quick_command(*words, "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = next(line for line in done.stdout.splitlines() if "saturation" in line)
    assert "AVX2 without VNNI: 2 of 2 integer layers lose sums" in told
    assert told.endswith("mend it with --narrow auto")
    assert evidence(folder / "out/net.w8a8.onnx")["saturation"]["by_instruction_set"]["AVX2"] == "saturates"
    shown = quick_command("inspect", "out/net.w8a8.onnx", cwd=folder).stdout.splitlines()
    assert shown[-3].startswith("saturation  AVX2 without VNNI: 2 of 2")
    assert all("outputs lost something, error" in line for line in shown[-2:])
    mended = quick_command(*words, "--narrow", "auto", "-o", "mended", cwd=folder)
    assert mended.returncode == 0, mended.stderr
    assert "saturation" not in mended.stdout
    found = evidence(folder / "mended/net.w8a8.onnx")
    assert len(found["options"]["narrow"]) == 2
    assert found["saturation"]["by_instruction_set"]["AVX2"] == "exact"


def test_a_file_without_a_manifest_is_looked_at(quick_command: Run, folder: Path) -> None:
    quick_command("quantize", "net.py:saturating", "--scheme", "w8a8", "--no-speed-check", cwd=folder)
    (folder / "net.w8a8.onnx").rename(folder / "foreign.onnx")
    by_bound = json.loads(quick_command("inspect", "foreign.onnx", "--json", cwd=folder).stdout)["description"][
        "saturation"
    ]
    assert by_bound["by_instruction_set"]["AVX2"] == "could saturate"
    tried = quick_command("inspect", "foreign.onnx", "--calibration", "net.py:saturating", cwd=folder)
    assert "integer layers lose sums" in tried.stdout
    missing = quick_command("inspect", "foreign.onnx", "--calibration", "rows.npz", cwd=folder)
    assert missing.returncode == 2
    assert "expected an .npz or .npy file" in missing.stderr


SCORED = (
    NET
    + """
from edgedl import Score

rows = {"x": np.random.default_rng(0).standard_normal((16, 4, 6, 6)).astype(np.float32)}

def uneven_net():
    torch.manual_seed(0)
    middle, scales = nn.Conv2d(16, 16, 1), 10 ** torch.linspace(-2, 2, 16)
    first, last = nn.Conv2d(4, 16, 1), nn.Linear(16 * 36, 5)
    first.weight.data *= scales[:, None, None, None]
    middle.weight.data /= scales[None, :, None, None]
    return nn.Sequential(first, nn.Hardswish(), middle, nn.ReLU(), nn.Flatten(), last).eval()

uneven = uneven_net()
answers = uneven(torch.from_numpy(rows["x"])).detach().numpy()

def closeness(predict):
    error = np.square(predict(rows)["y"] - answers).mean() / np.square(answers).mean()
    return Score("closeness", float(1 - error**0.5))

def made(module, evaluate, calibration=lambda: [rows]):
    return Task("net", lambda: module, lambda: {"x": rows["x"][:1]}, {"x": {0: "batch"}}, ("y",), calibration, evaluate)

def damaged():
    return made(uneven, closeness)

def steep_net():
    # its weights fit 8 bits, its activations do not: those of some channels are 1000 times those of others
    torch.manual_seed(0)
    first, last = nn.Conv2d(4, 16, 1), nn.Linear(16 * 36, 5)
    first.weight.data *= 10 ** torch.linspace(-0.5, 2.5, 16)[:, None, None, None]
    return nn.Sequential(first, nn.Tanh(), nn.Flatten(), last).eval()

steep_module = steep_net()
steep_answers = steep_module(torch.from_numpy(rows["x"])).detach().numpy()

def steep_closeness(predict):
    error = np.square(predict(rows)["y"] - steep_answers).mean() / np.square(steep_answers).mean()
    return Score("closeness", float(1 - error**0.5))

def steep():
    return made(steep_module, steep_closeness)

def plain():
    return made(net, None)

def uncalibrated():
    return made(net, None, None)

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x)

tiny_net = Tiny().eval()

def tiny():
    data = {"x": np.eye(4, dtype=np.float32)}
    return Task("tiny", lambda: tiny_net, lambda: {"x": data["x"][:1]}, {"x": {0: "batch"}}, ("y",), lambda: [data])
"""
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, quick_command: Run) -> Path:
    """`plain` as a float ONNX file, beside net.py."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "net.py").write_text(SCORED)
    done = quick_command("export", "net.py:plain", "--to", "onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def tflite(files: Path, quick_command: Run) -> Path:
    done = quick_command("export", "net.py:plain", "--to", "tflite", cwd=files)
    assert done.returncode == 0, done.stderr
    return files


def first_layer(files: Path, format: str) -> str:
    return registry.exporter(format).layers(files / f"net.{format}")[0].name


@pytest.mark.parametrize(
    ("format", "words", "changed"),
    [
        ("onnx", "w8a8 --calibrator entropy", {"calibrator": "entropy"}),
        ("onnx", "w8a8 --calibrator mse --equalize --bias-correction", {"equalize": True, "bias_correction": True}),
        ("onnx", "w8a8 --smooth 0.5 --per-tensor", {"smooth": 0.5, "per_channel": False}),
        ("onnx", "w8a8 --keep-float FIRST", {"keep_float": ["FIRST"]}),
        ("onnx", "w8a8 --wide FIRST --narrow FIRST", {"wide": ["FIRST"], "narrow": ["FIRST"]}),
        ("onnx", "w8a16 --narrow FIRST --allow-slower", {"narrow": ["FIRST"]}),
        ("onnx", "w4 --keep-float FIRST --allow-slower", {"keep_float": ["FIRST"]}),
        ("onnx", "w8a8-dynamic --narrow auto --allow-slower", {}),
    ],
)
def test_options_are_carried_out_and_recorded(
    quick_command: Run, files: Path, tmp_path: Path, format: str, words: str, changed: dict[str, Any]
) -> None:
    carried_out(quick_command, files, tmp_path, format, words, changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("w8a8 --calibrator percentile --bias-correction", {"calibrator": "percentile"}),
        ("w8a8 --equalize --keep-float FIRST", {"equalize": True, "keep_float": ["FIRST"]}),
        ("w8a8 --wide FIRST", {"wide": ["FIRST"]}),
        ("w8a16 --allow-slower", {}),
    ],
)
def test_options_are_carried_out_in_tflite(
    quick_command: Run, tflite: Path, tmp_path: Path, words: str, changed: dict[str, Any]
) -> None:
    carried_out(quick_command, tflite, tmp_path, "tflite", words, changed)
    refused = quick_command("quantize", "net.tflite", "--scheme", "w8a8", "--smooth", "0.5", cwd=tflite)
    assert (refused.returncode, "w8a8 in TFLite has no smooth" in refused.stderr) == (2, True)


def carried_out(
    quick_command: Run, files: Path, tmp_path: Path, format: str, words: str, changed: dict[str, Any]
) -> None:
    name = first_layer(files, format)
    given = [name if word == "FIRST" else word for word in words.split()]
    done = quick_command(
        "quantize", f"net.{format}", "--scheme", *given, "--no-speed-check", "-o", str(tmp_path), cwd=files
    )
    assert done.returncode == 0, done.stderr
    (made,) = (path for path in tmp_path.iterdir() if path.suffix == f".{format}")
    told = evidence(made)
    assert told["passed"] is True
    expected = {key: [name] if value == ["FIRST"] else value for key, value in changed.items()}
    assert {key: told["options"][key] for key in expected} == expected


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("quantize net.onnx --scheme w8a8 --calibrator kl", 2, "minmax"),
        ("quantize net.onnx --scheme w8a8 --smooth 3", 2, "expected a number from 0 to 1"),
        ("quantize net.onnx --scheme w8 --narrow node_conv2d", 2, "w8 in ONNX has no narrow"),
        ("quantize net.onnx --scheme w8a8 --keep-float node_conv", 2, "did you mean 'node_conv2d'"),
        ("quantize net.onnx --scheme w8a16", 2, "use --scheme w8a8 (or add --allow-slower)"),
        ("quantize net.onnx", 2, "add --scheme NAME, or --auto"),
        ("quantize net.onnx --scheme w8a8 --time 10", 2, "--time is for --auto"),
        ("quantize net.onnx --auto --time 0", 2, "--time 0: expected a number of seconds above 0"),
        ("quantize net.onnx --auto --qat", 2, "it searches and trains nothing"),
        ("quantize net.onnx --auto --random-calibration", 2, "its budget is on real inputs"),
        ("quantize net.onnx --auto", 2, "--auto needs a score to hold the budget against"),
        ("quantize net.py:uncalibrated --scheme w8a8 -o uncalibrated", 2, "w8a8 needs calibration inputs"),
    ],
)
def test_wrong_calls(quick_command: Run, files: Path, words: str, code: int, said: str) -> None:
    done = quick_command(*words.split(), cwd=files)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stderr
    assert not list(files.glob("*.w8*"))


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=pytest.mark.slow)])
def test_the_search_meets_the_budget_and_says_what_stays_in_float(
    quick_command: Run, files: Path, tmp_path: Path, format: str
) -> None:
    words = ["quantize", "net.py:damaged", "--to", format, "-o", str(tmp_path), "--no-speed-check"]
    plain = quick_command(*words, "--scheme", "w8a8", "--max-drop", "5%", cwd=files)
    assert plain.returncode == 1, plain.stdout
    done = quick_command(*words, "--auto", "--max-drop", "5%", "--time", "60", cwd=files)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "proven: " in lines[0]
    assert lines[1].startswith("  found in ")
    told = evidence(tmp_path / f"net.w8a8.{format}")
    assert told["score"]["drop"] <= 0.05
    kept = told["options"]["keep_float"]
    assert len(kept) == sum("stays in float: " in line for line in lines) < 3
    assert kept or "  every layer is int8" in lines
    assert not list(tmp_path.glob("*.search.jsonl"))


def test_sixteen_bits_come_before_float_where_they_are_asked_for(
    quick_command: Run, files: Path, tmp_path: Path
) -> None:
    words = [
        "quantize",
        "net.py:steep",
        "--auto",
        "--wide",
        "auto",
        "--max-drop",
        "5%",
        "--time",
        "60",
        "--no-speed-check",
        "-o",
    ]
    done = quick_command(*words, str(tmp_path), cwd=files)
    assert done.returncode == 0, done.stderr
    told = evidence(tmp_path / "net.w8a8.onnx")
    assert told["score"]["drop"] <= 0.05
    assert (bool(told["options"]["wide"]), told["options"]["keep_float"]) == (True, [])
    assert "  has 16-bit activations: " in done.stdout


def test_the_rows_given_are_what_a_file_is_proven_on(quick_command: Run, files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(5).standard_normal((20, 4, 6, 6)).astype(np.float32))
    words = ["quantize", "net.onnx", "--scheme", "w8", "--calibration", str(tmp_path / "rows.npz"), "--no-speed-check"]
    done = quick_command(*words, "-o", str(tmp_path), cwd=files)
    assert done.returncode == 0, done.stderr
    assert f" on {tmp_path / 'rows.npz'} (20 rows)" in done.stdout
    told = evidence(tmp_path / "net.w8.onnx")
    assert (told["inputs"], told["parity"][0]["shape"][0]) == (f"{tmp_path / 'rows.npz'} (20 rows)", 16)


def test_a_budget_out_of_reach_ends_with_the_best(quick_command: Run, files: Path, tmp_path: Path) -> None:
    words = ["quantize", "net.py:damaged", "--auto", "--max-drop", "-50%", "--time", "0.1", "--no-speed-check"]
    done = quick_command(*words, "-o", str(tmp_path), cwd=files)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the budget cannot be met" in done.stderr
    assert "in the time that was given (--time); the best of " in done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert {"net.w8a8.onnx.failed", "net.w8a8.onnx.search.jsonl"} <= names
    assert "net.w8a8.onnx" not in names


def test_a_file_that_is_not_smaller_fails_in_the_first_line(quick_command: Run, files: Path, tmp_path: Path) -> None:
    words = ["quantize", "net.py:tiny", "--scheme", "w8a8", "-o", str(tmp_path)]
    done = quick_command(*words, cwd=files)
    assert (done.returncode, done.stdout) == (1, "")
    assert "tiny.w8a8.onnx is not smaller than tiny.onnx: " in done.stderr.splitlines()[0]
    assert "or add --allow-slower" in done.stderr
    assert not (tmp_path / "tiny.w8a8.onnx").exists()
    allowed = quick_command(*words, "--allow-slower", cwd=files)
    assert allowed.returncode == 0, allowed.stderr
    assert "is not smaller than tiny.onnx" in allowed.stdout.splitlines()[0] + allowed.stdout.splitlines()[1]
    worth = evidence(tmp_path / "tiny.w8a8.onnx")["worth"]
    assert worth["target"] == "local"
    assert any("is not smaller" in sentence for sentence in worth["objections"])
    unmeasured = quick_command(*words, "--no-speed-check", "--force", cwd=files)
    assert unmeasured.returncode == 0, unmeasured.stderr
    assert "smaller" not in unmeasured.stdout
