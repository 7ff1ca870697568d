from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedl import Axis, Task, TaskReference
from edgedl.errors import EdgedlError, InvalidInput, InvalidReference, Unavailable, UnknownName

NET = """
import numpy as np
import torch
from torch import nn
from edgedl import Task

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
    def forward(self, x):
        return self.linear(x)

instance = Net()
def build(): return Net()
def make_task(): return Task("made", Net, lambda: {"x": np.zeros((1, 4), np.float32)}, {"x": {0: "batch"}})
task = make_task()
number = 3
def returns_number(): return 3
def raises(): raise KeyError("weights")
def wants(argument): return argument
def leaves(): raise SystemExit(0)
broken = Task("broken", raises, lambda: {"x": np.zeros((1, 4), np.float32)})
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    folder = tmp_path / "my nets"
    folder.mkdir()
    path = folder / "net.v1.py"
    path.write_text(NET)
    return path


@pytest.mark.parametrize("name", ["Net", "instance", "build", "task", "make_task"])
def test_every_kind_of_name(net: Path, name: str) -> None:
    inputs = () if "task" in name else ("x=2x4:float32",)
    task = TaskReference(f"{net}:{name}", inputs=inputs).resolve()
    assert isinstance(task, Task)
    assert task.name == ("made" if "task" in name else name)
    x = task.example_inputs()["x"]
    assert task.model()(torch.from_numpy(np.asarray(x))).shape == (len(x), 3)
    assert task.synthetic is bool(inputs)


def test_a_model_without_weights_is_the_same_in_every_process(net: Path) -> None:
    tasks = [TaskReference(f"{net}:Net", inputs=("x=1x4",)).resolve() for _ in range(2)]
    first, second = (task.model().state_dict()["linear.weight"] for task in tasks)
    assert torch.equal(first, second)


def test_dynamic_axes_from_words(net: Path) -> None:
    task = TaskReference(f"{net}:Net", inputs=("x=1x4",), dynamic=("x:0=rows:2..5",)).resolve()
    assert task.dynamic_axes == {"x": {0: Axis("rows", 2, 5)}}
    assert TaskReference(f"{net}:task").resolve().dynamic_axes == {"x": {0: Axis("batch")}}


def test_inputs_keep_the_order_of_the_words(net: Path) -> None:
    task = TaskReference(f"{net}:Net", inputs=("z=1x4", "a=1x4:int64:0..9")).resolve()
    assert list(task.example_inputs()) == ["z", "a"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nett", "unknown name in .*: expected one of .*did you mean 'Net'"),
        ("number", "is a int: expected a Task, an nn.Module"),
        ("returns_number", "is a int"),
        ("raises", r"raised when it was called without arguments: KeyError: 'weights' \(.*net\.v1\.py:\d+\)"),
        ("wants", "missing 1 required positional argument"),
        ("leaves", "raised when it was called .*SystemExit"),
        ("Net", "add --input x=1x3x64x64:float32"),
    ],
)
def test_names_that_lead_nowhere(net: Path, name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        TaskReference(f"{net}:{name}").resolve()


def test_a_model_that_raises_when_it_is_made(net: Path) -> None:
    task = TaskReference(f"{net}:broken").resolve()
    with pytest.raises(InvalidReference, match=r"the model of 'broken' could not be made: KeyError: 'weights'"):
        task.model()


def test_two_inputs_of_one_name(net: Path) -> None:
    with pytest.raises(InvalidReference, match="have one name: x, x"):
        TaskReference(f"{net}:Net", inputs=("x=1", "x=2")).resolve()


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (
            "raise ValueError('boom')",
            InvalidReference,
            r"raised while it was imported: ValueError: boom \(.*bad\.py:1\)",
        ),
        ("def f(:", InvalidReference, "SyntaxError"),
        ("import sys; sys.exit()", InvalidReference, "SystemExit"),
        ("from . import sibling", InvalidReference, "relative import"),
        ("import no_such_module_x", Unavailable, "needs the module 'no_such_module_x', which is not installed"),
        ("import b", Unavailable, "needs the module 'b'"),
    ],
)
def test_files_that_do_not_import(tmp_path: Path, source: str, kind: type[EdgedlError], said: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(kind, match=said):
        TaskReference(f"{tmp_path / 'bad.py'}:Net").resolve()


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("net.py", InvalidReference, "is not a task reference: expected net.py:NAME"),
        ("", InvalidReference, "is not a task reference"),
        (":", InvalidReference, "is not a task reference"),
        ("none/net.py:Net", InvalidReference, r"no such file: none/net\.py"),
        ("no_such_package.module:Net", InvalidReference, "no module 'no_such_package.module'"),
        ("zoo:digit", UnknownName, "did you mean 'digits'"),
        ("none.pt2", EdgedlError, r"none\.pt2"),
    ],
)
def test_words_that_lead_nowhere(text: str, kind: type[EdgedlError], said: str) -> None:
    with pytest.raises(kind, match=said):
        TaskReference(text).resolve()


def test_a_missing_file_says_what_is_there(net: Path) -> None:
    with pytest.raises(InvalidReference, match=r"holds net\.v1\.py"):
        TaskReference(f"{net.parent / 'other.py'}:Net").resolve()


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Unavailable, match="pip install --no-deps timm"):
        TaskReference("timm:resnet18").resolve()


def test_a_module_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "my_package_of_nets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    assert TaskReference("my_package_of_nets.net:task").resolve().name == "made"


def test_a_file_imports_its_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "a_sibling_of_the_net.py").write_text("from torch.nn import Linear\n")
    (tmp_path / "net.py").write_text("from a_sibling_of_the_net import Linear\nnet = Linear(2, 2)\n")
    assert TaskReference(f"{tmp_path / 'net.py'}:net", inputs=("x=1x2",)).resolve().name == "net"


def test_a_file_never_hides_a_module_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("from torch.nn import Linear\nnet = Linear(2, 2)\n")
    TaskReference(f"{tmp_path / 'json.py'}:net", inputs=("x=1x2",)).resolve()
    assert sys.modules["json"] is json


def test_the_trip_through_json() -> None:
    reference = TaskReference("net.py:Net", "w.safetensors", ("x=1x2",), ("x:0=batch",))
    assert TaskReference.from_dict(json.loads(json.dumps(asdict(reference)))) == reference


@pytest.mark.parametrize("make", [str, Path])
def test_zoo(make: Callable[[str], object]) -> None:
    assert TaskReference(str(make("zoo:mlp"))).resolve().outputs == ("logits",)
