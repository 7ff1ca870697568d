"""A .pt2 file becomes a task; whatever in it could run code is refused before torch opens it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import edgedl
from edgedl.errors import InvalidReference
from edgedl.tasks.pt2 import task

MODEL = "net/models/model.json"
CONSTANTS = "net/data/constants/model_constants_config.json"


class Net(nn.Module):
    """Weights, a buffer, a constant, a branch, text arguments, and a length in an expression."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.arange(4.0))
        self.shift = torch.ones(2)

    def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = nn.functional.gelu(self.conv(x), approximate="tanh").mean((2, 3)) * self.scale
        halves = torch.cat([x.reshape(x.shape[0], -1), x.reshape(x.shape[0], -1)], 1)
        doubled = torch.cond(pooled.sum() > 0, lambda y: y * 2, lambda y: y + 1, (pooled,))
        return doubled + more["y"] + self.shift.sum(), torch.einsum("bi,bi->b", halves, halves)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    batch = {0: torch.export.Dim("batch")}
    inputs = torch.ones(3, 3, 8, 8), {"y": torch.ones(3, 4)}
    torch.export.save(torch.export.export(Net().eval(), inputs, dynamic_shapes=(batch, {"y": batch})), str(path))
    return path


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    batch = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(nn.Linear(4, 2).eval(), (torch.ones(3, 4),), dynamic_shapes=batch), str(path))
    return path


def test_a_saved_program_exports_with_its_axes(linear: Path, tmp_path: Path) -> None:
    (artifact,) = edgedl.export(str(linear), ["onnx"], tmp_path)
    assert artifact.manifest
    assert isinstance(artifact.manifest.inputs[0].shape[0], str)
    assert artifact.manifest.inputs[0].shape[1] == 4


def test_the_clean_copy_computes_the_same(saved: Path) -> None:
    x, y = torch.randn(5, 3, 8, 8), torch.randn(5, 4)
    for ours, theirs in zip(
        task(saved).model()(x, {"y": y}), torch.export.load(str(saved)).module()(x, {"y": y}), strict=True
    ):
        assert torch.equal(ours, theirs)


RECURRENT = nn.LSTM(4, 8, 2, bidirectional=True, batch_first=True), (torch.ones(2, 5, 4),)
TRANSFORMER = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), (torch.ones(2, 5, 8),)
EMBEDDING = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)), (torch.zeros(2, 3, dtype=torch.long),)


@pytest.mark.parametrize(("module", "inputs"), [RECURRENT, TRANSFORMER, EMBEDDING], ids=["lstm", "transformer", "ids"])
def test_programs_that_people_have(module: nn.Module, inputs: tuple[torch.Tensor, ...], tmp_path: Path) -> None:
    torch.export.save(torch.export.export(module, inputs), str(tmp_path / "net.pt2"))
    assert task(tmp_path / "net.pt2").model()


@pytest.mark.parametrize("keep", [0, 10, 300, -100])
def test_a_truncated_program_is_refused(saved: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(InvalidReference, match=r"net\.pt2 is (not a whole \.pt2 file|refused)"):
        task(path)


def altered(saved: Path, path: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """A copy of the archive whose members went through `change`."""
    with zipfile.ZipFile(saved) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def _torch_pickle(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touch(path), buffer)
    return buffer.getvalue()


def _opaque(members: dict[str, bytes], path: Path) -> None:
    members["net/data/constants/opaque_obj_0"] = pickle.dumps(Touch(path))
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members[CONSTANTS] = json.dumps({"config": {"k": entry}}).encode()


def _pickled_weight(members: dict[str, bytes], path: Path) -> None:
    name = "net/data/weights/model_weights_config.json"
    config = json.loads(members[name])
    next(iter(config["config"].values()))["use_pickle"] = True
    members[name] = json.dumps(config).encode()
    members["net/data/weights/weight_0"] = _torch_pickle(path)


def _edited(change: Callable[[Any, str], Any]) -> Callable[[dict[str, bytes], Path], None]:
    def edit(members: dict[str, bytes], path: Path) -> None:
        program = json.loads(members[MODEL])
        change(program, f"__import__('pathlib').Path({str(path)!r}).touch()")
        members[MODEL] = json.dumps(program).encode()

    return edit


def _graph(program: Any) -> Any:
    return program["graph_module"]["graph"]


def _set_expression(program: Any, code: str) -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "expr_str" in value:
                value["expr_str"] = code
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(program)


def _set_target(target: str) -> Callable[[Any, str], Any]:
    return lambda program, code: _graph(program)["nodes"][0].update(target=target)


def _import_by_enum(program: Any, code: str) -> None:
    tree = {
        "type": "builtins.dict",
        "context": json.dumps([{"__enum__": True, "fqn": "antigravity:x"}]),
        "children_spec": [],
    }
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["out_spec"] = json.dumps([1, tree])


ATTACKS: dict[str, Callable[[dict[str, bytes], Path], Any]] = {
    "an opaque object": _opaque,
    "a pickled weight": _pickled_weight,
    "a legacy pickle": lambda m, p: m.update({"net/data/weights/model.pt": _torch_pickle(p)}),
    "an expression": _edited(_set_expression),
    "an operator of torch": _edited(_set_target("torch.hub.load")),
    "an operator that reads files": _edited(_set_target("torch.ops.aten.from_file.default")),
    "an operator of TorchScript": _edited(_set_target("torch.ops.aten.save.default")),
    "another module": _edited(_set_target("torch.utils.data.os.system")),
    "the name of an input": _edited(lambda p, code: _graph(p)["inputs"][-1]["as_tensor"].update(name=f"x={code}")),
    "the name of an argument": _edited(lambda p, code: _graph(p)["nodes"][0]["inputs"][0].update(name=f"x={code}")),
    "an enumeration to import": _edited(_import_by_enum),
    "an argument's name": _edited(
        lambda p, code: p["graph_module"]["module_call_graph"][0]["signature"].update(forward_arg_names=[f"x={code}", "y"])
    ),
    "a custom object": _edited(
        lambda p, code: _graph(p).update(custom_obj_values={"k": {"name": "k", "class_fqn": "antigravity.x"}})
    ),
    "a case twin": lambda m, p: m.update({"net/Models/model.json": m[MODEL]}),
    "a compiled library": lambda m, p: m.update({"net/data/aotinductor/model/model.so": b"\x7fELF"}),
    "another folder": lambda m, p: m.update({"more/models/model.json": m[MODEL]}),
    "a path": lambda m, p: m.update({"net/../../x": b""}),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_could_run_code_is_refused_and_not_run(saved: Path, tmp_path: Path, attack: Callable[..., Any]) -> None:
    path = altered(saved, tmp_path / "net.pt2", lambda members: attack(members, tmp_path / "ran"))
    with pytest.raises(InvalidReference, match="is refused"):
        task(path)
    assert not (tmp_path / "ran").exists()


def test_what_is_not_needed_is_not_read(saved: Path, tmp_path: Path) -> None:
    """Guards are Python, sample inputs a pickle, and extra files anything: the copy has none of them."""

    def change(members: dict[str, bytes]) -> None:
        _edited(lambda program, code: program.update(guards_code=[code]))(members, tmp_path / "ran")
        members["net/data/sample_inputs/model.pt"] = _torch_pickle(tmp_path / "ran")
        members["net/extra/notes.txt"] = b"mine"

    assert task(altered(saved, tmp_path / "net.pt2", change)).model()
    assert not (tmp_path / "ran").exists()


def test_a_name_that_stands_twice_is_refused(saved: Path, tmp_path: Path) -> None:
    """torch takes the first of two equal names, Python's zipfile the last."""
    path = tmp_path / "net.pt2"
    path.write_bytes(saved.read_bytes())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(MODEL, b"{}")
    with pytest.raises(InvalidReference, match="twice"):
        task(path)


SYMBOL = "Symbol('s26', positive=True, integer=True)"


@pytest.mark.parametrize(
    "text",
    [
        SYMBOL,
        f"Add(Mul(Integer(2), {SYMBOL}), Integer(-1))",
        f"Pow({SYMBOL}, Integer(2))",
        "Float('0.5', precision=53)",
        "s0",
        "2*s0 + 1",
        "Max(1, s77//2)",
        "s0**2",
        "Mod(s0, 4)",
        "u0 >= 2",
        "PythonMod(s0, 2)",
        "s94 - (s94//2)",
    ],
)
def test_expressions_that_torch_writes(text: str) -> None:
    from edgedl.tasks.pt2_program import _expression

    assert _expression(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "s0.real",
        "s0[0]",
        "lambda: 0",
        "9**9**9**9",
        "'a'",
        "exec('1')",
        "s0 if s0 else 1",
        "(" * 500,
        "1" * 40,
    ],
)
def test_expressions_that_torch_never_writes(text: str) -> None:
    from edgedl.tasks.pt2_program import UnsafeProgramError, _expression

    with pytest.raises(UnsafeProgramError, match="no expression"):
        _expression(text)
