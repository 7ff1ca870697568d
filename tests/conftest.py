"""What several test files share."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import edgedl
from distribution import ByFile, turn
from edgedl import Artifact, Task
from made_up_engine import install
from preloaded import preloaded

# Two processes test on two cores: more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What tests set up, remove and put into quarantine is their own, and none of the user's.
os.environ["EDGEDL_TARGETS"] = tempfile.mkdtemp(prefix="edgedl-targets-")
atexit.register(shutil.rmtree, os.environ["EDGEDL_TARGETS"], ignore_errors=True)
# A busy machine is slow, which is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.fixture(scope="session", autouse=True)
def no_speed_check() -> Iterator[None]:
    """Nothing is timed in this process: whether a tiny network pays in int8 is the machine's, and no test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgedl.quantizing.speed_judge", lambda parent, target: None)
        yield


@pytest.fixture(scope="session")
def digits_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained weights of zoo:digits."""
    path, score = edgedl.train("zoo:digits", tmp_path_factory.mktemp("digits"))
    assert score is not None
    assert score.value >= 0.97
    return path


@pytest.fixture(scope="session")
def digits_onnx(digits_weights: Path) -> Artifact:
    """The float ONNX artifact of the trained digits, read only."""
    reference = edgedl.TaskReference("zoo:digits", str(digits_weights))
    return edgedl.export(reference, ("onnx",), digits_weights.parent)[0]


@pytest.fixture(scope="session")
def reverse_onnx(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An encoder-decoder as an ONNX artifact group, alone in its folder, read only."""
    return edgedl.export(f"{Path(__file__).with_name('reverser.py')}:task", ["onnx"], tmp_path_factory.mktemp("group"))[
        0
    ]


@pytest.fixture
def linear_task() -> Task:
    """y = relu(x W + b) with seeded weights and a dynamic batch."""
    from torch import manual_seed, nn

    def model() -> nn.Module:
        manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    rows = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    return Task("linear", model, lambda: {"x": rows}, {"x": {0: "batch"}})


def caller(program: Path) -> Run:
    """Runs `program` and gives exit code, stdout and stderr."""

    def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("EDGEDL_")}
        return subprocess.run(
            [program, *words], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture(scope="session")
def command() -> Run:
    """Runs the installed `edgedl` command and gives exit code, stdout and stderr."""
    return caller(Path(sys.executable).with_name("edgedl"))


@pytest.fixture(scope="session")
def quick_program() -> Iterator[Path]:
    """A program `edgedl` that does as the installed one, without the imports at each call; no signal reaches what it does."""
    with preloaded() as program:
        yield program


@pytest.fixture(scope="session")
def quick_command(quick_program: Path) -> Run:
    """As `command`, without the imports at each call; PYTHONPATH has no effect."""
    return caller(quick_program)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed plugin `fake`, here and in child processes; the folder for models."""
    install(tmp_path, monkeypatch)
    return tmp_path
