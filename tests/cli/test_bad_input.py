"""Every wrong call ends in one sentence on stderr, with its exit code, and leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from edgedl import Artifact

NET = """
import torch
from torch import nn

print("a net that talks")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        print("in forward")
        return self.linear(x)

class Unsupported(Net):
    def forward(self, x):
        y = self.linear(x)
        return torch.linalg.svdvals(y)

class Branches(Net):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return self.linear(x)

class Raises(Net):
    def forward(self, x):
        raise KeyError("missing")

def broken(): raise RuntimeError("no weights")
number = 3
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "raises.py").write_text("raise ValueError('boom')\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "needs.py").write_text("import no_such_module_x\n")
    (tmp_path / "hello.onnx").write_text("hello")
    (tmp_path / "hello.tflite").write_text("hello")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "w.h5").touch()
    return tmp_path


@pytest.fixture
def model(here: Path, digits_onnx: Artifact) -> Path:
    for path in digits_onnx.path.parent.glob("digits.*"):
        shutil.copy(path, here)
    whole = digits_onnx.path.read_bytes()
    (here / "bare.onnx").write_bytes(whole)
    (here / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    np.save(here / "ok.npy", np.zeros((1, 1, 8, 8), np.float32))
    np.save(here / "double.npy", np.zeros((1, 1, 8, 8)))
    np.save(here / "narrow.npy", np.zeros((1, 1, 8, 7), np.float32))
    np.save(here / "text.npy", np.array(["a"]))
    np.savez(here / "two.npz", image=np.zeros((1, 1, 8, 8), np.float32), more=np.zeros(1))
    (here / "junk.npz").write_bytes(b"PK\x03\x04junk")
    return here


def listing(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts}


def refused(command: Run, folder: Path, words: str, code: int, said: str) -> None:
    before = listing(folder)
    done = command(*words.split(), cwd=folder)
    lines = [line for line in done.stderr.splitlines() if line not in ("a net that talks", "in forward")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("edgedl: ")
    assert [part for part in said.split(" … ") if part not in lines[0]] == [], lines[0]
    assert "internal error" not in lines[0]
    assert done.stdout == ""
    assert listing(folder) == before


WITH_X = "--input x=1x4 -o out"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("exprot zoo:digits", 2, "unknown verb 'exprot': expected one of analyze … did you mean 'export'?"),
        ("export", 2, "Missing argument 'TASK'"),
        ("export zoo:digits --frobnicate", 2, "--frobnicate"),
        ("export zoo:digits --max-drop much", 2, "'much' is neither a percentage as 0.5% nor a number"),
        ("export zoo:digits --to onx -o out", 2, "unknown format 'onx': expected one of ncnn, onnx, tflite; did you mean 'onnx'?"),
        ("export zoo:digit -o out", 2, "unknown zoo task 'digit'"),
        ("export net.py -o out", 2, "'net.py' is not a task reference: expected net.py:NAME"),
        (f"export none.py:Net {WITH_X}", 2, "no such file: none.py; . holds leaves.py, needs.py, net.py, raises.py"),
        (f"export no.such.module:Net {WITH_X}", 2, "no module 'no.such.module' can be imported"),
        (f"export net.py:Nett {WITH_X}", 2, "did you mean 'Net'?"),
        (f"export net.py:number {WITH_X}", 2, "is a int: expected a Task, an nn.Module, or a callable that returns one"),
        (f"export net.py:broken {WITH_X}", 2, "raised when it was called without arguments: RuntimeError: no weights ("),
        (f"export raises.py:Net {WITH_X}", 2, "raises.py raised while it was imported: ValueError: boom ("),
        (f"export leaves.py:Net {WITH_X}", 2, "leaves.py raised while it was imported: SystemExit"),
        (f"export needs.py:Net {WITH_X}", 3, "needs the module 'no_such_module_x', which is not installed"),
        ("export none.pt2 -o out", 2, "none.pt2"),
        ("export net.py:Net -o out", 2, "add --input x=1x3x64x64:float32"),
        ("export net.py:Net --input x=1x5 -o out", 2, "net.py:14 on its example inputs (x (1, 5) float32): mat1 and mat2"),
        ("export net.py:Net --input x=1x4:float31 -o out", 2, "'x=1x4:float31' is not NAME=SHAPE:DTYPE"),
        ("export net.py:Net --input x=1x4:float32:5..1 -o out", 2, "expected LOW <= HIGH"),
        ("export net.py:Net --input x=1x4:int64 -o out", 2, "net.py:14"),
        (f"export net.py:Net --dynamic y:0=batch {WITH_X}", 2, "unknown input 'y': the inputs are x"),
        (f"export net.py:Net --dynamic x:7=batch {WITH_X}", 2, "has 2 axes (0 to 1), not axis 7"),
        (f"export net.py:Net --dynamic x=batch {WITH_X}", 2, "is not INPUT:AXIS=NAME"),
        (f"export net.py:Net --dynamic x:1=width {WITH_X}", 2, "net.py:14"),
        (f"export net.py:Net --weights none.safetensors {WITH_X}", 2, "no such weights file: none.safetensors"),
        (f"export net.py:Net --weights w.h5 {WITH_X}", 2, "w.h5 is refused: expected .safetensors"),
        (f"export net.py:Raises {WITH_X}", 2, "net.py:29 on its example inputs (x (1, 4) float32): 'missing'"),
        (f"export net.py:Unsupported {WITH_X}", 2, "the operator aten._linalg_svd … net.py:19)"),
        (f"export net.py:Branches {WITH_X}", 2, "the control flow or a shape depends on the values of a tensor"),
        ("export net.py:Net --input x=1x4 -o net.py/out", 2, "cannot make the folder net.py/out"),
        ("train net.py:Net --input x=1x4 -o out", 2, "cannot be trained: its Task has no fit"),
        (f"prune net.py:Net {WITH_X}", 2, "needs one target, and the others none: --macs 0.5, --params 0.4, --size 200kB"),
        (f"prune net.py:Net --macs 0.5 --params 0.5 {WITH_X}", 2, "--macs and --params: one target at a time"),
        (f"prune net.py:Net --macs 2 {WITH_X}", 2, "--macs 2: expected the share of the original's that is left, between 0 and 1"),
        (f"prune net.py:Net --size small {WITH_X}", 2, "--size 'small': expected bytes, as 200kB, 1.5MB or 200000"),
        (f"prune net.py:Net --macs 0.5 --method strucured {WITH_X}", 2, "did you mean 'structured'?"),
        (f"prune net.py:Net --macs 0.5 --importance tailor {WITH_X}", 2, "did you mean 'taylor'?"),
        (f"prune net.py:Net --macs 0.5 --importance taylor {WITH_X}", 2, "needs real inputs: Net has no calibration(); take magnitude"),
        (f"prune net.py:Net --method unstructured {WITH_X}", 2, "needs it: --method unstructured --sparsity 0.8"),
        (f"prune net.py:Net --method 5:4 {WITH_X}", 2, "expected N:M with N from 1 to M - 1"),
        (f"prune net.py:Net --macs 0.5 --align 0 {WITH_X}", 2, "expected 1 or more steps, threads and channels"),
        (f"prune net.py:Net --macs 0.5 --to onx {WITH_X}", 2, "did you mean 'onnx'?"),
        (f"prune net.py:Net --macs 0.5 --align 8 {WITH_X}", 2, "nothing in Net can be pruned"),
        (f"export net.py:Net --weights . {WITH_X}", 2, "is no pruned model: it has no plan.json; make one with: edgedl prune"),
        ("train zoo:digits -o net.py", 2, "cannot make the folder net.py"),
    ],
)  # fmt: skip
def test_before_anything_is_made(quick_command: Run, here: Path, words: str, code: int, said: str) -> None:
    refused(quick_command, here, words, code, said)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("inspect none.onnx", 2, "no such model file: none.onnx; . holds bare.onnx, cut.onnx, digits.onnx"),
        ("inspect net.py", 2, "unknown model file type '.py': expected one of .ncnn, .onnx, .tflite"),
        ("inspect hello.onnx", 2, "hello.onnx is not a whole ONNX model"),
        ("inspect hello.tflite", 2, "hello.tflite is not a TFLite model"),
        ("inspect empty.onnx", 2, "empty.onnx is empty"),
        ("inspect cut.onnx", 2, "cut.onnx is not a whole ONNX model"),
        ("quantize cut.onnx --scheme w8", 2, "cut.onnx is not a whole ONNX model"),
        ("verify cut.onnx --task zoo:digits", 2, "cut.onnx is not a whole ONNX model"),
        ("verify hello.tflite --task zoo:digits", 2, "hello.tflite is not a TFLite model"),
        ("run cut.onnx --input ok.npy", 2, "cut.onnx is not a whole ONNX model"),
        ("run hello.tflite --input ok.npy", 2, "hello.tflite is not a TFLite model"),
        ("run none.tflite", 2, "no such model file: none.tflite"),
        ("run cut.onnx", 2, "cut.onnx is not a whole ONNX model"),
        ("run digits.onnx --runtime orx", 2, "unknown runtime 'orx'"),
        ("run digits.onnx --runtime litert", 2, "'litert' does not load onnx models; these do: ort"),
        ("run digits.onnx --device gpu", 2, "unknown device 'gpu': expected one of cpu, cuda, tensorrt"),
        ("run digits.onnx --threads 0", 2, "threads"),
        ("run digits.onnx --input none.npy", 2, "no such file: none.npy"),
        ("run digits.onnx --input junk.npz", 2, "junk.npz is not a NumPy .npy or .npz file"),
        ("run digits.onnx --input double.npy", 2, "input 'image' has dtype float64, expected float32"),
        ("run digits.onnx --input narrow.npy", 2, "input 'image' has shape (1, 1, 8, 7), expected (batch, 1, 8, 8)"),
        ("run digits.onnx --input text.npy", 2, "'image'"),
        ("run digits.onnx --input two.npz", 2, "expected the inputs image: float32[batch, 1, 8, 8], got image, more"),
        ("run digits.onnx --input pixels=ok.npy", 2, "no input 'pixels', the model takes image"),
        ("run digits.onnx --input ok.npy -o hello.onnx", 2, "hello.onnx exists already"),
        ("run digits.onnx --input ok.npy -o hello.onnx/y.npz", 2, "cannot make the folder hello.onnx"),
        ("quantize digits.onnx --scheme w9", 2, "unknown scheme 'w9': expected one of"),
        ("quantize digits.onnx --scheme fp32", 2, "fp32"),
        ("quantize digits.onnx --scheme w8a8-dynamic", 2, "use --scheme w8a8 (or add --allow-slower)"),
        ("quantize digits.onnx --scheme w8a8 --samples 0", 2, "--samples 0: expected 1 or more"),
        ("quantize digits.onnx --scheme w8a8 --calibration none.npz", 2, "expected an .npz or .npy file"),
        ("quantize digits.onnx --scheme w8a8 --calibration narrow.npy", 2, "has shape (1, 1, 8, 7), expected (batch, 1, 8, 8)"),
        ("quantize hello.onnx --scheme w8", 2, "hello.onnx is not a whole ONNX model"),
        ("verify digits.onnx --task net.py:number", 2, "is a int"),
        ("verify digits.onnx --runtime litert", 2, "does not load onnx models"),
    ],
)  # fmt: skip
def test_model_files(quick_command: Run, model: Path, words: str, code: int, said: str) -> None:
    refused(quick_command, model, words, code, said)


def test_an_altered_model_is_found_by_its_checksum(quick_command: Run, model: Path) -> None:
    data = bytearray((model / "digits.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (model / "digits.onnx").write_bytes(data)
    for verb in ("inspect", "run", "verify"):
        refused(quick_command, model, f"{verb} digits.onnx", 2, "sha256 differs")


def test_existing_outputs_are_kept(quick_command: Run, model: Path) -> None:
    whole = (model / "digits.onnx").read_bytes()
    refused(quick_command, model, "export zoo:digits -o .", 2, "digits.onnx exists already")
    refused(quick_command, model, "train zoo:digits -o .", 2, "digits.safetensors exists already")
    assert (model / "digits.onnx").read_bytes() == whole


def test_verify_of_another_model_fails_with_one(quick_command: Run, model: Path) -> None:
    refused(
        quick_command, model, "verify digits.onnx --task zoo:digits", 1, "digits.onnx is not proven: output 'logits'"
    )


def test_weights_that_could_run_code(quick_command: Run, here: Path) -> None:
    import torch

    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(here / "executed"), "w")

    torch.save({"x": Touch()}, here / "w.pt")
    refused(quick_command, here, f"export net.py:Net --weights w.pt {WITH_X}", 2, "could run code")
    assert not (here / "executed").exists()


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize(
    ("words", "blocked", "said"),
    [
        ("export zoo:digits -o out", ("torch",), "pip install 'edgedl["),
        ("train zoo:digits -o out", ("torch",), "pip install 'edgedl["),
        ("train zoo:digits -o out", ("sklearn",), "pip install 'edgedl[train]'"),
        ("prune zoo:digits --macs 0.5 -o out", ("torch_pruning",), "pip install 'edgedl[prune]'"),
        ("quantize digits.onnx --scheme w8", ("torch",), "pip install 'edgedl["),
        ("verify digits.onnx", ("torch",), "pip install 'edgedl["),
        ("export zoo:digits -o out", ("onnxscript",), "'onnx' needs onnxscript, which is not installed: pip install 'edgedl[onnx]'"),
        ("export zoo:digits --to tflite -o out", ("litert_torch",), "pip install 'edgedl[tflite]'"),
        ("inspect digits.onnx", ("onnx",), "'onnx' needs onnx, "),
        ("run digits.onnx", ("onnxruntime", "openvino", "ncnn"), "pip install 'edgedl[ort]'"),
        ("export timm:resnet18 -o out", ("timm",), "timm:NAME needs timm, which is not installed: pip install --no-deps timm"),
        ("run hello.tflite --input ok.npy", ("ai_edge_litert", "tflite_runtime", "openvino"), "pip install 'edgedl[litert]'"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(command: Run, model: Path, words: str, blocked: tuple[str, ...], said: str) -> None:
    shim = model / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(BLOCKED.format(blocked=blocked))
    before = listing(model)
    done = command(*words.split(), cwd=model, PYTHONPATH=str(shim))
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("edgedl: ")
    assert said in done.stderr
    assert done.stdout == ""
    assert listing(model) == before


TIMM = """
def is_model(name): return name in list_models()
def list_models(): return ["resnet18", "mobilenetv3_small_100"]
"""


@pytest.mark.parametrize(
    ("name", "said"), [("resnet19", "did you mean 'resnet18'?"), ("no_such_net_x", "unknown timm architecture")]
)
def test_an_architecture_that_an_installed_timm_does_not_have(command: Run, here: Path, name: str, said: str) -> None:
    (here / "shim").mkdir()
    (here / "shim" / "timm.py").write_text(TIMM)
    done = command("export", f"timm:{name}", "-o", "out", cwd=here, PYTHONPATH=str(here / "shim"))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("edgedl: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (here / "out").exists()
