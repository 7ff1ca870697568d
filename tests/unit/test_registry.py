from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from edgedl import registry
from edgedl.errors import Unavailable, UnknownName


def test_the_built_ins_come_through_the_entry_points() -> None:
    assert {"onnx", "tflite"} <= registry.exporters().keys()
    assert {"ort", "litert", "torch"} <= registry.runtimes().keys()
    assert registry.exporter("onnx").format == "onnx"
    assert registry.runtime("ort").formats == {"onnx"}


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match=r"unknown format 'onx'.*did you mean 'onnx'"):
        registry.exporter("onx")
    with pytest.raises(UnknownName, match="unknown runtime 'tensorrt'"):
        registry.runtime("tensorrt")


@pytest.mark.parametrize(
    ("module", "there"),
    [("json", True), ("no_such_module_x", False), ("no_such_module_x|json", True), ("no_such_module_x.below", False)],
)
def test_installed(module: str, there: bool) -> None:
    assert registry.installed(module) is there


def test_a_missing_requirement_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda module: module != "onnxruntime")
    with pytest.raises(Unavailable, match=r"runtime 'ort' needs onnxruntime, .* pip install 'edgedl\[ort\]'"):
        registry.runtime("ort")
    assert "ort" not in registry.usable_runtimes()
    assert "litert" in registry.usable_runtimes()


def test_alternatives_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda module: False)
    with pytest.raises(Unavailable, match="ai_edge_litert or tflite_runtime"):
        registry.runtime("litert")


def test_a_plugin_that_does_not_import_harms_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("npu", "no_such_plugin:runtime", "edgedl.runtimes")
    points = {**registry.runtimes(), "npu": broken}
    monkeypatch.setattr(registry, "runtimes", lambda: points)
    with pytest.raises(Unavailable, match=r"the plugin 'npu' \(no_such_plugin:runtime\) could not be imported"):
        registry.runtime("npu")
    assert "ort" in registry.usable_runtimes()
    assert "npu" not in registry.usable_runtimes()


def test_missing_lists_every_module() -> None:
    plugin = SimpleNamespace(requires=("json", "no_such_a", "no_such_b|no_such_c"))
    assert registry.missing(plugin) == ["no_such_a", "no_such_b|no_such_c"]  # type: ignore[arg-type]
