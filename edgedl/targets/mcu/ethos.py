"""Arm's Ethos-U NPUs: what vela, Arm's compiler for them, estimates."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgedl.errors import EngineFailed, InvalidInput, Unavailable
from edgedl.measure import Figure

PACKAGE = "ethos-u-vela"
NPUS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)), "ethos-u65-256", "ethos-u65-512",
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)  # fmt: skip
"""`--accelerator-config` of vela 5.2: the NPU and its multiply-accumulates per cycle"""


def available() -> str:
    """The version of vela; Unavailable with the command that installs it."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError as error:
        raise Unavailable(
            "an Ethos-U estimate needs vela, which is not installed: pip install 'edgedl[mcu]'"
        ) from error


def estimate(path: Path, npu: str, timeout: float) -> tuple[list[Figure], str]:
    """(figures, a note). EngineFailed with vela's words; InvalidInput where nothing of the model runs on the NPU."""
    found = available()
    with tempfile.TemporaryDirectory(prefix="edgedl-vela-") as folder:
        said = _vela(path, npu, Path(folder), timeout)
        (table,) = Path(folder).glob("*_summary_*.csv")
        (row,) = csv.DictReader(table.read_text().splitlines())
    basis = f"vela {found}, {row['system_config']}, {row['memory_mode']}, {float(row['core_clock']) / 1e6:.0f} MHz"
    if not float(row["cycles_npu"]):
        raise InvalidInput(f"no operator of it runs on {npu}: quantize it, edgedl quantize FILE --scheme w8a8")
    kib = {"SRAM": "sram_memory_used", "flash for weights": "off_chip_flash_memory_used"}
    figures = [
        Figure("NPU cycles", float(row["cycles_total"]), "", "estimated", basis=basis),
        Figure("NPU time", 1e9 * float(row["inference_time"]), "ns", "estimated", basis=basis),
        *(Figure(name, 1024 * float(row[key]), "B", "estimated", basis=basis) for name, key in kib.items()),
    ]
    return figures, f"{_operators(said)}; an estimate of vela's model of the NPU, and no measurement"


def _operators(said: str) -> str:
    """`CPU operators = 3 (27.3%), NPU operators = 8 (72.7%)`."""
    lines = [line.strip() for line in said.splitlines() if line.startswith(("CPU operators", "NPU operators"))]
    return ", ".join(lines) + " (those of the CPU are not in the figures)"


def _vela(path: Path, npu: str, folder: Path, timeout: float) -> str:
    program = shutil.which("vela", path=str(Path(sys.executable).parent)) or shutil.which("vela")
    if not program:
        raise Unavailable("vela is installed and its command is not found: pip install --force-reinstall ethos-u-vela")
    command = [program, str(path.absolute()), "--accelerator-config", npu, "--output-dir", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, cwd=folder)
    except subprocess.TimeoutExpired as stop:
        raise EngineFailed(f"vela took more than {timeout:g} s") from stop
    if done.returncode or not list(folder.glob("*_summary_*.csv")):
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "rror" in line]
        raise EngineFailed(f"vela cannot compile it: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
    return done.stdout
