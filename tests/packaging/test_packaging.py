"""The promises of the layout: what ships, what imports what, and what a bare installation can do."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgedl
from edgedl import Artifact
from edgedl.cli import VERBS

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
POINTS = PROJECT["project"]["entry-points"]
FAMILIES = {"exporters": "edgedl.exporters", "runtimes": "edgedl.runtimes"}
HEAVY = {
    "torch", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "ai_edge_litert", "ai_edge_quantizer", "litert_torch",
    "tflite_runtime", "jax", "tensorflow", "sklearn", "scipy", "safetensors", "timm", "lightning_fabric", "torch_pruning",
}  # fmt: skip
PUBLIC = [
    "Artifact", "Axis", "DecodeLoop", "EncoderDecoder", "Engine", "Loop", "Part", "Processing", "QuantizationOptions", "Recipe", "Score", "Session",
    "Stage", "State", "Task", "TaskReference",
    "benchmark", "export", "load", "load_group", "optimize", "prune", "quantize", "train",
]  # fmt: skip


def packages(family: str) -> list[str]:
    return sorted(p.parent.name for p in (ROOT / family).glob("*/__init__.py"))


@pytest.mark.parametrize("family", FAMILIES)
def test_wheel_packages_are_the_child_folders_and_the_entry_points(family: str) -> None:
    listed = sorted(Path(entry).name for entry in WHEEL if entry.startswith(f"{family}/"))
    registered = sorted({value.partition(":")[0] for value in POINTS[FAMILIES[family]].values()})
    assert listed == packages(family) == registered


def test_the_wheel_holds_nothing_else() -> None:
    assert [entry for entry in WHEEL if entry.partition("/")[0] not in FAMILIES] == ["edgedl"]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


PLUGINS = [(family, name) for family in FAMILIES for name in packages(family)]


@pytest.mark.parametrize(("family", "name"), PLUGINS)
def test_plugins_never_import_each_other(family: str, name: str) -> None:
    others = {other for _, other in PLUGINS if other != name} | set(FAMILIES)
    found = {
        f"{path.name}: {module}"
        for path in (ROOT / family / name).rglob("*.py")
        for module in imports(path)
        if module in others
    }
    assert found == set()


def test_the_core_never_imports_a_plugin() -> None:
    plugins = {name for _, name in PLUGINS}
    assert {f"{p.name}: {m}" for p in (ROOT / "edgedl").rglob("*.py") for m in imports(p) if m in plugins} == set()


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import edgedl",
        "import edgedl; dir(edgedl); edgedl.__version__",
        "import edgedl; edgedl.load, edgedl.Session, edgedl.Artifact, edgedl.Axis, edgedl.Task, edgedl.TaskReference",
        "import edgedl.cli",
        "from edgedl import registry; registry.exporters(); registry.runtimes()",
        "from edgedl import registry; [p.load() for p in (*registry.exporters().values(), *registry.runtimes().values())]",
        "from edgedl import zoo; zoo.names()",
        "import edgedl.running, edgedl.isolated, edgedl.worker",
        *(f"import {name}" for _, name in PLUGINS),
        *(f"import edgedl.cli.{verb}" for verb in sorted(VERBS)),
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


def test_import_edgedl_loads_next_to_nothing() -> None:
    extra = loaded_by("import edgedl") - loaded_by("import importlib, typing")
    assert extra == {"__future__", "edgedl"}


def test_running_an_onnx_file_loads_neither_torch_nor_onnx(digits_onnx: Artifact) -> None:
    statement = f"import edgedl; s = edgedl.load({str(digits_onnx.path)!r}); s.run(edgedl.Artifact.open({str(digits_onnx.path)!r}).golden()[0])"
    assert loaded_by(statement) & HEAVY == {"onnxruntime"}


def test_an_engine_leaves_no_identifier_of_the_device(tmp_path: Path) -> None:
    """ONNX Runtime writes one beside what it is going to send."""
    code = "import edgedl; edgedl.load('edgedl/models/sum.onnx').close()"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_public_surface() -> None:
    assert sorted(edgedl.__all__) == PUBLIC
    assert [name for name in PUBLIC if getattr(edgedl, name).__module__.partition(".")[0] != "edgedl"] == []
    assert set(dir(edgedl)) == {*PUBLIC, "__version__"}
    with pytest.raises(AttributeError, match="module 'edgedl' has no attribute 'exprot'"):
        edgedl.exprot  # noqa: B018


def test_the_version_is_written_once_more_only_in_the_project() -> None:
    assert edgedl.__version__ == PROJECT["project"]["version"]


def test_every_extra_that_a_plugin_names_is_there() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    plugins = [p.load() for p in (*edgedl_points("edgedl.exporters"), *edgedl_points("edgedl.runtimes"))]
    assert [plugin.extra for plugin in plugins if plugin.extra not in extras] == []


def edgedl_points(group: str) -> list[object]:
    from importlib.metadata import entry_points

    return list(entry_points(group=group))


def test_base_dependencies_are_what_a_device_needs() -> None:
    assert sorted(d.partition(">")[0] for d in PROJECT["project"]["dependencies"]) == ["click", "numpy"]


# ---- slow: a wheel, and environments that hold only what a device has ----


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "build", "dist")
    shutil.copytree(ROOT, source, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source],
        check=True,
        cwd=folder,
        timeout=300,
    )
    (built,) = folder.glob("*.whl")
    return built


class Device:
    """An environment with the wheel and the packages named, nothing of this one's."""

    def __init__(self, folder: Path, wheel: Path, *requirements: str) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
        self.bin = folder / "bin"
        self.run(
            "pip", "install", "-q", "--disable-pip-version-check", str(wheel), *requirements, timeout=500
        ).check_returncode()

    def run(
        self, program: str, *words: str, cwd: Path | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / program, *words], cwd=cwd or self.bin, env={"PATH": "/usr/bin:/bin", "HOME": str(self.bin)},
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    def installed(self) -> set[str]:
        listed = self.run("pip", "list", "--format=json", "--disable-pip-version-check")
        return {package["name"].replace("_", "-").lower() for package in json.loads(listed.stdout)}


@pytest.mark.slow
def test_what_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "edgedl/py.typed" in names
    assert {f"{name}/__init__.py" for _, name in PLUGINS} <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("edgedl")} == set()
    for family in FAMILIES:
        sources = {str(p.relative_to(ROOT / family)) for p in (ROOT / family).rglob("*.py")}
        assert sources <= names


def test_py_typed_is_there() -> None:
    assert (ROOT / "edgedl" / "py.typed").is_file()


@pytest.mark.slow
def test_a_bare_installation(wheel: Path, tmp_path: Path) -> None:
    device = Device(tmp_path / "venv", wheel)
    assert device.installed() - {"pip", "setuptools"} == {"edgedl", "numpy", "click"}
    assert device.run("edgedl", "--help").returncode == 0
    assert device.run("python", "-c", "import edgedl; edgedl.load").returncode == 0
    doctor = device.run("edgedl", "doctor")
    assert "Traceback" not in doctor.stderr
    assert "onnxruntime" in doctor.stdout
    for words in ("export zoo:digits", "train zoo:digits", "export zoo:digits --to tflite"):
        done = device.run("edgedl", *words.split(), cwd=tmp_path)
        assert done.returncode == 3, done.stderr
        assert done.stderr.startswith("edgedl: ")
        assert len(done.stderr.splitlines()) == 1
        assert "pip install 'edgedl[" in done.stderr


RUNS = """
import sys
import numpy as np
import edgedl
from edgedl.errors import InvalidTensor
artifact = edgedl.Artifact.open({path!r})
inputs, expected = artifact.golden()
with edgedl.load(artifact, threads=1) as session:
    for name, got in session.run(inputs).items():
        assert got.dtype == expected[name].dtype
        error = np.sqrt(np.mean((got - expected[name]) ** 2) / np.mean(expected[name] ** 2))
        assert error < 0.02, error
    try:
        session.run({{"image": np.zeros((1, 1, 8, 7), np.float32)}})
    except InvalidTensor as refusal:
        print("refused", refusal)
assert "torch" not in sys.modules
print("ran in", session.engine)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "requirements", "engine"),
    [
        ("onnx", ["onnxruntime"], "onnxruntime "),
        ("tflite", ["ai-edge-litert==2.3.0"], "ai-edge-litert 2.3.0"),
        pytest.param(
            "tflite", ["tflite-runtime==2.14.0", "numpy<2"], "tflite-runtime 2.14.0",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="its last wheels are for Python 3.11"),
        ),
    ],
)  # fmt: skip
def test_a_device_runs_an_artifact_without_torch(
    wheel: Path, tmp_path: Path, digits_weights: Path, format: str, requirements: list[str], engine: str
) -> None:
    reference = edgedl.TaskReference("zoo:digits", str(digits_weights))
    (artifact,) = edgedl.export(reference, (format,), tmp_path / "out")
    narrow = edgedl.quantize(artifact, "w8a8", task=reference)
    device = Device(tmp_path / "venv", wheel, *requirements)
    assert device.installed() & {"torch", "onnx", "onnxscript", "litert-torch"} == set()
    for path in (artifact.path, narrow.path):
        done = device.run("python", "-c", RUNS.format(path=str(path)))
        assert done.returncode == 0, done.stderr
        assert "refused input 'image' has shape (1, 1, 8, 7)" in done.stdout
        assert f"ran in {engine}" in done.stdout
        ran = device.run("edgedl", "run", str(path))
        assert ran.returncode == 0, ran.stderr
        assert "golden outputs agree" in ran.stdout
