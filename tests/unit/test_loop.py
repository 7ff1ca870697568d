"""Trainings as data: resumed exactly, frozen truly, refused plainly."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgedl.checkpoint import Checkpoint
from edgedl.engine import Engine
from edgedl.errors import GateFailed, InvalidInput, OutputExists, Unavailable, UnknownName
from edgedl.loop import Fitted, Loop, Stage
from edgedl.spec import Array
from edgedl.task import Progress

ROWS = np.random.default_rng(0).standard_normal((70, 6)).astype(np.float32)


def data(progress: Progress) -> tuple[Array, Array]:
    return ROWS, (ROWS.sum(1) > 0).astype(np.int64)


def error(module: nn.Module, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(module(rows), labels)


def mended(module: nn.Module, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return ((module(rows * (torch.rand_like(rows) > 0.3)) - rows) ** 2).mean()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone(rows))
        return logits


def decoder(module: nn.Module) -> nn.Module:
    return nn.Sequential(module.get_submodule("backbone"), nn.Linear(8, 6))


STAGES = (
    Stage(mended, data, 2, batch=16, subject=decoder),
    Stage(error, data, 2, batch=16, frozen=("backbone",)),
    Stage(error, data, 2, batch=16, clip=0.5),
)
TOTAL = 3 * 2 * (70 // 16)


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def fit(path: Path, loop: Loop = Loop(STAGES), progress: Progress = lambda done, total: None, seed: int = 0) -> Fitted:  # noqa: B008
    return loop.run(net(), seed, progress, Engine("cpu"), Checkpoint(path, f"seed {seed}, {loop}", every=0.0))


def until(step: int) -> Progress:
    def stop(done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return stop


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("step", [1, 8, 9, 20, TOTAL - 1])
def test_a_resumed_training_is_the_one_that_was_not_interrupted(tmp_path: Path, step: int) -> None:
    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", progress=until(step))
    told: list[int] = []
    resumed = fit(tmp_path / "parts", progress=lambda done, total: told.append(done))
    assert told == list(range(step + 1, TOTAL + 1))
    assert resumed.resumed == step
    assert same(whole.module, resumed.module)
    assert whole.losses == resumed.losses
    assert len(whole.losses) == TOTAL


def test_another_seed_gives_other_weights_and_the_same_one_the_same(tmp_path: Path) -> None:
    one, again, other = (fit(tmp_path / str(n), seed=seed).module for n, seed in enumerate((0, 0, 1)))
    assert same(one, again)
    assert not same(one, other)


def test_a_frozen_submodule_keeps_its_weights_and_its_statistics(tmp_path: Path) -> None:
    before = net()
    after = fit(tmp_path / "c", Loop((replace(STAGES[1], epochs=3),))).module
    assert same(before.backbone, after.get_submodule("backbone"))
    assert not same(before.head, after.get_submodule("head"))
    assert not after.training


def test_a_loop_is_a_fit() -> None:
    module = net()
    told: list[tuple[int, int]] = []
    trained = Loop(STAGES)(module, 0, lambda done, total: told.append((done, total)))
    assert trained is module
    assert told[-1] == (TOTAL, TOTAL)


def test_less_precision_computes_otherwise_and_keeps_float_weights(tmp_path: Path) -> None:
    loop = Loop(STAGES[2:])
    whole = fit(tmp_path / "c", loop)
    coarse = loop.run(net(), 0, lambda done, total: None, Engine("cpu", "bf16-mixed"))
    assert {parameter.dtype for parameter in coarse.module.parameters()} == {torch.float32}
    assert coarse.losses != whole.losses
    assert np.allclose(coarse.losses, whole.losses, atol=0.05)


def test_a_diverging_loss_ends_the_training_and_its_checkpoint(tmp_path: Path) -> None:
    def diverging(module: nn.Module, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return error(module, rows, labels) * (float("nan") if rows[0, 0] == ROWS[7, 0] else 1.0)

    loop = Loop((Stage(diverging, data, 100, batch=2),))
    with pytest.raises(GateFailed, match=r"training diverged: the loss is nan at step \d+; lower the learning rate"):
        fit(tmp_path / "c", loop)
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "c", progress=until(3))
    with pytest.raises(InvalidInput, match=r"belongs to another training \(seed 0, .*; this one is seed 1, .*--force"):
        fit(tmp_path / "c", seed=1)
    with pytest.raises(InvalidInput, match=r"another training .*clip|another training"):
        fit(tmp_path / "c", Loop(STAGES[:2]))


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "c", progress=until(3))
    wider = nn.Sequential(nn.Linear(6, 9))
    wider.backbone = nn.Linear(6, 8)
    loop = Loop(STAGES)
    with pytest.raises(InvalidInput, match="is of another model than the task's: --force begins anew"):
        loop.run(wider, 0, lambda done, total: None, Engine("cpu"), Checkpoint(tmp_path / "c", f"seed 0, {loop}"))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        fit(path, progress=until(3))
    whole = path.read_bytes()
    torch.save({"identity": Path}, tmp_path / "p")
    broken = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello", "pickle": (tmp_path / "p").read_bytes()}
    path.write_bytes(broken[damage])
    with pytest.raises(InvalidInput, match="is no checkpoint of edgedl or is damaged: --force begins anew"):
        fit(path)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "c", progress=until(3))
    kept = (tmp_path / "c").read_bytes()

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputExists, match=r"cannot write c into .*: No space left on device; nothing was changed"):
        fit(tmp_path / "c")
    monkeypatch.undo()
    assert (tmp_path / "c").read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_fewer_examples_than_a_batch_are_one_batch() -> None:
    stage = Stage(error, data, 3, batch=100)
    assert [len(rows) for rows in stage.batches(70, 0)] == [70, 70, 70]
    assert stage.steps(70) == 3


def test_every_epoch_has_its_own_order() -> None:
    batches = list(Stage(error, data, 2, batch=35).batches(70, 0))
    first, second = torch.cat(batches[:2]), torch.cat(batches[2:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(70))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu': expected one of auto, cpu, cuda"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
        ({"strategy": "dp"}, "unknown strategy 'dp'"),
    ],
)
def test_unknown_words_of_the_engine(words: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        Engine(**words)


def test_what_the_engine_cannot_do() -> None:
    with pytest.raises(InvalidInput, match="devices=0: expected 1 or more"):
        Engine(devices=0)
    with pytest.raises(InvalidInput, match="16-mixed needs a GPU: on a processor choose bf16-mixed or 32"):
        Engine("cpu", "16-mixed").fabric()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu() -> None:
    assert Engine().chosen() == "cpu"
    with pytest.raises(Unavailable, match=r"--device cuda: torch .*(without CUDA|sees 0 GPUs); choose --device cpu"):
        Engine("cuda").chosen()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["32", "16-mixed", "bf16-mixed"])
def test_on_a_gpu(precision: str) -> None:
    fitted = Loop(STAGES).run(net(), 0, lambda done, total: None, Engine("cuda", precision))
    assert fitted.device.startswith("cuda")
    assert {parameter.device.type for parameter in fitted.module.parameters()} == {"cpu"}
