"""The target: the same worker as here, started over ssh; it takes the time by the board's own clock."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, EngineFailed, Interrupted, InvalidInput, Unavailable, UnknownName, Unsupported
from edgedl.isolated import ENVIRONMENT
from edgedl.place import Launch
from edgedl.runtime import Source
from edgedl.sum_model import check_sum, sum_file
from edgedl.targets.ssh import client
from edgedl.targets.ssh.address import Address
from edgedl.targets.ssh.failures import board_said, explain
from edgedl.targets.ssh.files import of_artifact, of_runner, of_wheels
from edgedl.targets.target import Status, Target, TargetKind, Watch
from edgedl.targets.worker_target import WorkerTarget


@dataclass(frozen=True)
class BoardEngine:
    """What `--set engine=NAME` installs. package: as pip calls it, in the version that is here or, if none, in `version`."""

    package: str
    module: str
    format: str
    beside: tuple[str, ...] = ("numpy",)
    version: str = ""

    def requirements(self, asked: str | None) -> list[str]:
        version = asked or _here(self.package) or self.version
        return [*self.beside, f"{self.package}=={version}" if version else self.package]


ENGINES = {
    "ort": BoardEngine("onnxruntime", "onnxruntime", "onnx"),
    "litert": BoardEngine("ai-edge-litert", "ai_edge_litert.interpreter", "tflite"),
    "tflite-runtime": BoardEngine("tflite-runtime", "tflite_runtime.interpreter", "tflite", ("numpy<2",), "2.14.0"),
}


def _here(package: str) -> str | None:
    """The version that is installed here: int8 is bit-exact between machines for one version of an engine."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


class Board:
    """The place: brings the model, which stays there for the next time, and starts the worker."""

    here = False

    def __init__(self, address: Address) -> None:
        self.address, self.name = address, str(address)

    @contextlib.contextmanager
    def launch(self, source: Source) -> Iterator[Launch]:
        if not isinstance(source, Artifact):
            raise Unsupported(
                f"{source.text} runs in PyTorch, which {self.name} has not: give an .onnx or .tflite file"
            )
        runner, packed = of_runner()
        path, brought = of_artifact(source)
        board = client.bring(self.address, [packed, *brought], _nobody)
        self._check(source.format, board["engines"])
        request = {"runner": runner, "environment": dict(ENVIRONMENT)}
        yield Launch(self.address.command(client.remote(client.PYTHON, "work", request)), path, client.QUIET)

    def _check(self, fmt: str, engines: Collection[str]) -> None:
        able = [name for name, engine in ENGINES.items() if engine.format == fmt]
        if not able:
            raise Unsupported(f"{self.name}: boards run .onnx and .tflite files, and this is a .{fmt}")
        if not set(able) & {*engines}:
            raise Unavailable(
                f"{self.name} has {', '.join(engines)}, which loads no .{fmt}: "
                f"edgedl target setup {self.name} --set engine={able[0]}"
            )

    def failure(self, code: int, said: str) -> EdgedlError | None:
        """code: of ssh, which is that of board.py there; below 0 it was ended here, which means what it means anywhere."""
        if own := board_said(said):
            return EngineFailed(f"{self.name}: {own}")
        return explain(self.address, code, said) if code in (126, 127, 255) else None


def _nobody(text: str) -> None:
    """Watches what takes no time."""


class SshKind(TargetKind):
    """Linux boards with an SSH server and Python 3.10 or later."""

    name = "ssh"
    summary = "a board over SSH, each set up once: edgedl target setup ssh://user@host"
    example = "ssh://pi@raspberrypi.local"
    settings: ClassVar[Mapping[str, str]] = {
        "engine": f"which engine the board gets: {', '.join(ENGINES)} (ort); a further one is added",
        "version": "version of the engine, where the board cannot have the one that is installed here",
        "python": "the board's Python, 3.10 or later (python3)",
        "wheels": "folder of wheels for a board without a network: those of numpy, the engine and what it requires",
    }

    def open(self, detail: str) -> Target:
        address = Address.of(detail)
        return WorkerTarget(Board(address), machine=address.known_as)

    def status(self) -> Status:
        reason = client.possible()
        return Status("impossible", reason) if reason else Status("ready")

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        """Brings the runner and the wheels, makes the environment there, and computes something in it."""
        address, name = Address.of(detail), settings.get("engine", "ort")
        if name not in ENGINES:
            raise UnknownName("engine", name, ENGINES)
        engine, python = ENGINES[name], settings.get("python", "python3")
        wheels = _wheels(settings["wheels"]) if "wheels" in settings else ()
        request: dict[str, Any] = {
            "requirements": engine.requirements(settings.get("version")), "engine": name, "module": engine.module,
            "environment": {"ORT_DISABLE_TELEMETRY": "1"}, "local": bool(wheels),
            "chosen": "python" in settings,
        }  # fmt: skip
        try:
            client.bring(address, [of_runner()[1], *wheels], watch, python, first=True)
            client.ask(address, python, "setup", request, watch)
        except KeyboardInterrupt as stop:
            kept = f"interrupted: what is on {address} so far stays there, and the same command goes on"
            raise Interrupted(kept) from stop
        self._compute(detail, engine.format)

    def _compute(self, detail: str, fmt: str) -> None:
        """1 + 2 = 3, there."""
        with self.open(detail).session(sum_file(fmt)) as session:
            check_sum(session, f"ssh:{detail}", f"edgedl target remove ssh:{detail}")

    def remove(self, detail: str) -> None:
        client.remove(Address.of(detail))


def _wheels(text: str) -> Any:
    found = of_wheels(Path(text))
    if not found:
        raise InvalidInput(f"--set wheels={text}: expected a folder with .whl files (pip download -d {text} numpy ...)")
    return found


kind = SshKind()
