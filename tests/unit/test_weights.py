from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from edgedl import weights
from edgedl.errors import InvalidInput


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 4)
        self.head = nn.Linear(4, 16, bias=False)
        self.head.weight = self.embedding.weight


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    weights.save(net(0), tmp_path / "w.safetensors")
    other = net(1)
    weights.load_into(other, tmp_path / "w.safetensors")
    assert same(other, net(0))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_torch_checkpoints(tmp_path: Path, wrapper: str | None, suffix: str) -> None:
    state = net(0).state_dict()
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / f"w{suffix}")
    other = net(1)
    weights.load_into(other, tmp_path / f"w{suffix}")
    assert same(other, net(0))


@pytest.mark.parametrize("save", [weights.save, save_model])
def test_shared_weights(tmp_path: Path, save: object) -> None:
    """safetensors' own save_model writes a shared tensor once, under one of its names."""
    path = tmp_path / "w.safetensors"
    save(Tied(), path) if save is weights.save else save(Tied(), str(path))  # type: ignore[operator]
    other = Tied()
    before = other.head.weight.detach().clone()
    weights.load_into(other, path)
    assert other.head.weight is other.embedding.weight
    assert not torch.equal(before, other.head.weight)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": net(0).state_dict(), "hook": Malicious()}, tmp_path / f"w{suffix}")
    with pytest.raises(InvalidInput, match=r"is refused: .*could run code; save it anew"):
        weights.load_into(net(0), tmp_path / f"w{suffix}")
    assert not (tmp_path / "executed").exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(net(0), tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match="is refused"):
        weights.load_into(net(0), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04", b"\x80\x02."])
def test_files_that_are_no_weights(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match="is refused") as caught:
        weights.load_into(net(0), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_foreign_suffix(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no such weights file: .*edgedl train TASK"):
        weights.load_into(net(0), tmp_path / "w.pt")
    (tmp_path / "w.h5").touch()
    with pytest.raises(InvalidInput, match=r"expected \.safetensors or a torch checkpoint"):
        weights.load_into(net(0), tmp_path / "w.h5")


def test_a_dictionary_of_other_things(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match="expected a dictionary of tensors"):
        weights.load_into(net(0), tmp_path / "w.pt")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model.net.", "0."])
@pytest.mark.parametrize("name", ["w.pth.tar", "w.safetensors"])
def test_names_with_what_a_wrapper_puts_before_them(tmp_path: Path, prefix: str, name: str) -> None:
    state = {f"{prefix}{key}": tensor.clone() for key, tensor in net(0).state_dict().items()}
    save_file(state, str(tmp_path / name)) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    module = net(1)
    weights.load_into(module, tmp_path / name)
    assert same(module, net(0))


def test_nothing_is_left_out_of_names_that_have_no_common_beginning(tmp_path: Path) -> None:
    state = {f"module.{key}": tensor.clone() for key, tensor in net(0).state_dict().items()}
    save_file({**state, "loss.weight": torch.zeros(1)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(
        InvalidInput,
        match=r"9 names fit behind 'module\.', .* 'loss\.weight' first; add --ignore-extra",
    ):
        weights.load_into(net(1), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("0.bias"), "1 of 9 tensors are missing, '0.bias' first"),
        (lambda s: s.update(more=torch.zeros(1)), "it holds 1 tensors that the model has not, 'more' first"),
        (lambda s: s.update({"2.weight": torch.zeros(3, 8)}), r"'2.weight' is \(3, 8\) in the file and \(2, 8\) in the model"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(tmp_path: Path, change: object, said: str) -> None:
    state = {name: tensor.clone() for name, tensor in net(0).state_dict().items()}
    change(state)  # type: ignore[operator]
    save_file(state, str(tmp_path / "w.safetensors"))
    module = net(1)
    with pytest.raises(InvalidInput, match=f"does not fit the model: .*{said}"):
        weights.load_into(module, tmp_path / "w.safetensors")
    assert same(module, net(1)), "nothing was loaded"


@pytest.mark.parametrize("wrapper", ["net", "params", "model_ema", "weights", "model.state_dict", "ema"])
def test_more_wrappers_and_harmless_company(tmp_path: Path, wrapper: str) -> None:
    company = {"best": np.float64(0.5), "step": np.int64(3), "args": argparse.Namespace(lr=0.1), "scores": np.zeros(3)}
    torch.save({"epoch": 3, **company, wrapper: {"state_dict": net(0).state_dict()}}, tmp_path / "w.th")
    module = net(1)
    weights.load_into(module, tmp_path / "w.th")
    assert same(module, net(0))


def test_a_file_without_counts_of_batches(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in net(0).state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "w.pt")
    save_file({key: tensor.clone() for key, tensor in state.items()}, str(tmp_path / "w.safetensors"))
    for name in ("w.pt", "w.safetensors"):
        module = net(1)
        weights.load_into(module, tmp_path / name)
        assert same(module, net(0))


def test_extra_tensors_are_left_out_on_request(tmp_path: Path) -> None:
    state = {f"model.{key}": tensor.clone() for key, tensor in net(0).state_dict().items()}
    torch.save({"model": {**state, "loss.weight": torch.zeros(1)}}, tmp_path / "w.pt")
    module = net(1)
    weights.load_into(module, tmp_path / "w.pt", ignore_extra=True)
    assert same(module, net(0))


class Renamed(nn.Linear):
    def _load_from_state_dict(self, state: dict[str, torch.Tensor], prefix: str, *rest: object) -> None:
        if f"{prefix}old" in state:
            state[f"{prefix}weight"] = state.pop(f"{prefix}old")
        super()._load_from_state_dict(state, prefix, *rest)  # type: ignore[arg-type]


def test_names_that_the_module_itself_renames(tmp_path: Path) -> None:
    torch.save({"0.old": torch.ones(2, 4), "0.bias": torch.zeros(2)}, tmp_path / "w.pt")
    module = nn.Sequential(Renamed(4, 2))
    weights.load_into(module, tmp_path / "w.pt")
    assert torch.equal(module[0].weight, torch.ones(2, 4))


def test_the_keys_that_were_found_are_told(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"lr": 1}}, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match="it has 'epoch', 'optimizer'"):
        weights.load_into(net(0), tmp_path / "w.pt")
