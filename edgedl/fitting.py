"""Carries out the stages of a Loop: one step after the other on the engine, with checkpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from edgedl.checkpoint import Checkpoint, Position
from edgedl.errors import GateFailed, InvalidInput
from edgedl.loop import Loss, Stage
from edgedl.task import Progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Tensors = tuple[torch.Tensor, ...]

TOGETHER = 16
"""The losses of so many steps are looked at together: each look waits for the device."""


class Scored(torch.nn.Module):
    """A module and its loss as one module: all that is computed then passes the engine's wrapper."""

    def __init__(self, subject: torch.nn.Module, loss: Loss) -> None:
        super().__init__()
        self.subject, self.loss = subject, loss

    def forward(self, *batch: torch.Tensor) -> torch.Tensor:
        return self.loss(self.subject, *batch)


class Part:
    """One stage on the engine: what is trained, its optimizer and its schedule."""

    def __init__(self, stage: Stage, steps: int, module: torch.nn.Module, fabric: Fabric) -> None:
        self.fabric, self.clip = fabric, stage.clip
        subject = stage.subject(module)
        trained = _thawed(module, subject, stage.frozen)
        optimizer = torch.optim.AdamW(trained, stage.learning_rate, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, stage.learning_rate, total_steps=steps)
        self.model, self.optimizer = fabric.setup(Scored(subject, stage.loss), optimizer)
        self._states: dict[str, Any] = {
            "module": module.to(fabric.device), "subject": subject, "optimizer": optimizer, "schedule": self.schedule,
        }  # fmt: skip

    def advance(self, batch: Tensors) -> torch.Tensor:
        """One step; returns the loss, averaged over the devices."""
        loss: torch.Tensor = self.model(*batch)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.clip < float("inf"):
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.clip, error_if_nonfinite=False)
        self.optimizer.step()
        self.schedule.step()
        averaged = loss.detach()
        return averaged if self.fabric.world_size == 1 else self.fabric.all_reduce(averaged)

    def state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._states.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """InvalidInput if it is the state of another model."""
        try:
            for name, part in self._states.items():
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InvalidInput("the checkpoint is of another model than the task's: --force begins anew") from error


def _thawed(module: torch.nn.Module, subject: torch.nn.Module, frozen: Sequence[str]) -> list[torch.nn.Parameter]:
    """The parameters that are trained; a frozen submodule keeps the statistics of its batch norms, too."""
    for whole in (module, subject):
        whole.train().requires_grad_(True)
    for name in frozen:
        module.get_submodule(name).eval().requires_grad_(False)
    return [parameter for parameter in subject.parameters() if parameter.requires_grad]


@dataclass
class Ledger:
    """The losses so far, and the time. fresh: losses that nobody has looked at yet."""

    losses: list[float] = field(default_factory=list)
    before: float = 0.0
    fresh: list[torch.Tensor] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.began

    def settle(self) -> None:
        """Look at the fresh losses; GateFailed at the first that is not finite."""
        for loss in torch.stack(self.fresh).tolist() if self.fresh else ():
            if not abs(loss) < float("inf"):
                raise GateFailed(
                    f"training diverged: the loss is {loss} at step {len(self.losses)}; lower the learning rate"
                )
            self.losses.append(loss)
        self.fresh.clear()


class Run:
    """A training under way."""

    def __init__(
        self, stages: Sequence[Stage], data: Sequence[Tensors], module: torch.nn.Module, seed: int, progress: Progress,
        fabric: Fabric, checkpoint: Checkpoint | None,
    ) -> None:  # fmt: skip
        self.stages, self.data, self.module, self.seed = stages, data, module, seed
        self.fabric, self.progress = fabric, progress
        self.checkpoint = checkpoint
        self.total = sum(stage.steps(len(tensors[0])) for stage, tensors in zip(stages, data, strict=True))
        kept = checkpoint.load() if checkpoint else None
        self.kept, self.resumed = kept, kept.done if kept else 0
        self.done = self.resumed
        self.ledger = Ledger(list(kept.losses), kept.seconds) if kept else Ledger()

    def finish(self) -> None:
        """From where the checkpoint stands to the end."""
        try:
            for number in range(self.kept.stage if self.kept else 0, len(self.stages)):
                self._stage(number, self.kept if self.kept and self.kept.stage == number else None)
        except GateFailed:
            if self.checkpoint and self.fabric.is_global_zero:
                self.checkpoint.remove()
            raise

    def _stage(self, number: int, kept: Position | None) -> None:
        stage, tensors = self.stages[number], self.data[number]
        examples = len(tensors[0])
        torch.manual_seed(self.seed)
        part = Part(stage, stage.steps(examples), self.module, self.fabric)
        if kept:
            part.restore(kept.state)
        for step, rows in enumerate(stage.batches(examples, self.seed)):
            if not kept or step >= kept.step:
                self._sow()
                self.ledger.fresh.append(part.advance(self._own(tensors, rows)))
                self._tell(number, step + 1, part)
        self.ledger.settle()

    def _sow(self) -> None:
        """The seed of this step on this device. (torch.manual_seed takes ten times as long: it visits every backend.)"""
        seed = (self.seed * 1_000_003 + self.done) * self.fabric.world_size + self.fabric.global_rank
        torch.default_generator.manual_seed(seed % 2**63)
        if self.fabric.device.type == "cuda":
            torch.cuda.manual_seed(seed % 2**63)

    def _own(self, tensors: Tensors, rows: torch.Tensor) -> Tensors:
        """This device's share of the rows."""
        own = rows[self.fabric.global_rank :: self.fabric.world_size]
        return tuple(tensor[own].to(self.fabric.device, non_blocking=True) for tensor in tensors)

    def _tell(self, number: int, step: int, part: Part) -> None:
        self.done += 1
        due = bool(self.checkpoint and self.checkpoint.due() and self.fabric.is_global_zero)
        if due or len(self.ledger.fresh) >= TOGETHER:
            self.ledger.settle()
        if due and self.checkpoint and self.done < self.total:
            losses, seconds = self.ledger.losses, self.ledger.seconds()
            self.checkpoint.save(Position(self.done, self.total, number, step, losses, seconds, part.state()))
        if self.fabric.is_global_zero:
            self.progress(self.done, self.total)
