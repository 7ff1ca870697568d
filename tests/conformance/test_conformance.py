"""Every exporter x scheme x runtime over tiny networks, held to one set of assertions.

The parameters come from the registry: a third party's exporter or runtime is held to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from networks import NETWORKS, task

import edgedl
from edgedl import Artifact, registry
from edgedl.errors import EdgedlError, EngineFailed, Unsupported
from edgedl.exporting import eager
from edgedl.program import program_of
from edgedl.runtime import runtimes_for
from edgedl.schemes import SCHEMES
from edgedl.verify.parity import relative_rms

Made = Callable[[str, str, str, bool], Artifact]
FORMATS = sorted(registry.usable_exporters())
BATCH = {True: "dynamic", False: "static"}
CONVERTING = ("ncnn",)
"""Engines that convert a file when they load it: they may refuse it, and what they take has to come out right."""


def batches(format: str, runtime: str) -> tuple[bool, ...]:
    """Whether the batch is dynamic: both ways for the engines that the format is proven with, one for each of the others."""
    return tuple(BATCH) if runtime in registry.exporter(format).runtimes else (runtime not in CONVERTING,)


RUNS = [
    pytest.param(
        network, format, scheme, runtime, dynamic, id=f"{network}-{format}-{scheme}-{runtime}-{BATCH[dynamic]}"
    )
    for network in NETWORKS
    for format in FORMATS
    for scheme in ("fp32", *registry.exporter(format).schemes)
    for runtime in runtimes_for(Artifact(Path(f"any.{format}")))
    for dynamic in batches(format, runtime)
]
OPTIONS = {"openvino": {"precision": "f32"}}
"""runtime -> what makes it compute in float32; its own choice may be bf16"""
BYTES = {"fp32": 1.0, "fp16": 0.55, "w8": 0.35, "w4": 0.5, "w8a8-dynamic": 0.35, "w8a8": 0.4, "w8a16": 0.45}
"""Largest share of the float weights' bytes; convolutions stay in float under w4, and under w8a8-dynamic in ONNX."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The artifact of (network, format, scheme, dynamic), or the error that made none; each is made once."""
    folder = tmp_path_factory.mktemp("conformance")
    done: dict[tuple[str, str, str, bool], Artifact | EdgedlError] = {}

    def make(network: str, format: str, scheme: str, dynamic: bool) -> Artifact:
        if scheme == "fp32":
            return edgedl.export(task(network, dynamic), (format,), folder)[0]
        source = get(network, format, "fp32", dynamic)
        return edgedl.quantize(source, scheme, task=task(network, dynamic), allow_slower=True)

    def get(*key: str | bool) -> Artifact:
        if key not in done:
            try:
                done[key] = make(*key)  # type: ignore[index, arg-type]
            except EdgedlError as error:
                done[key] = error  # type: ignore[index]
        found = done[key]  # type: ignore[index]
        if isinstance(found, EdgedlError):
            raise found
        return found

    return get  # type: ignore[return-value]


def made_or_refused(made: Made, network: str, format: str, scheme: str, dynamic: bool) -> Artifact:
    """A format may refuse a dynamic axis, if it names it."""
    try:
        return made(network, format, scheme, dynamic)
    except Unsupported as error:
        assert dynamic, str(error)
        assert "batch" in str(error), "the axis is not named"
        pytest.skip(f"documented: {error}")


def loaded_or_refused(artifact: Artifact, runtime: str) -> edgedl.Session:
    """A refusal names the file and says why in one sentence."""
    try:
        return edgedl.load(artifact.path, runtime, threads=1, options=OPTIONS.get(runtime, {}))
    except EngineFailed as error:
        assert runtime in CONVERTING, str(error)
        assert str(artifact.path) in str(error) and "\n" not in str(error)
        pytest.skip(f"documented: {error}")


@pytest.mark.parametrize(("network", "format", "scheme", "runtime", "dynamic"), RUNS)
def test_conformance(made: Made, network: str, format: str, scheme: str, runtime: str, dynamic: bool) -> None:
    artifact = made_or_refused(made, network, format, scheme, dynamic)
    original = task(network, dynamic)
    program = program_of(original, original.model())
    manifest = artifact.manifest
    assert manifest is not None
    assert (manifest.scheme, manifest.format) == (scheme, format)
    assert manifest.evidence["passed"] is True
    assert manifest.evidence["inputs"] == "calibration"
    assert [spec.name for spec in manifest.inputs] == list(program.inputs)
    assert [spec.name for spec in manifest.outputs] == ["logits"]
    (spec,) = manifest.inputs
    assert spec.shape[0] == ("batch" if dynamic else 1)
    assert spec.shape[1:] == program.input_specs()[0].shape[1:]

    reference, rows = eager(program), next(iter(original.calibration() if original.calibration else ()))
    with loaded_or_refused(artifact, runtime) as session:
        for length in (1, 3, 7) if dynamic else (1,):
            feeds = {name: np.resize(array, (length, *array.shape[1:])) for name, array in rows.items()}
            got, want = session.run(feeds)["logits"], reference(feeds)["logits"]
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            assert relative_rms(got, want) <= 1.5 * SCHEMES[scheme].tolerance.relative_rms
        inputs, expected = artifact.golden()
        outputs = session.run(inputs)
    assert all(relative_rms(outputs[name], expected[name]) <= 0.01 for name in expected)


@pytest.mark.parametrize("scheme", [name for name in BYTES if name != "fp32"])
@pytest.mark.parametrize(("network", "format"), [(n, f) for n in NETWORKS for f in FORMATS])
def test_narrower_schemes_store_fewer_bytes(made: Made, network: str, format: str, scheme: str) -> None:
    exporter = registry.exporter(format)
    in_float = network == "cnn" and (scheme == "w4" or (format, scheme) == ("onnx", "w8a8-dynamic"))
    in_float |= (network, format) == ("transformer", "ncnn")
    if scheme not in exporter.schemes or in_float:
        pytest.skip("not a scheme for this")
    stored = {}
    for name in ("fp32", scheme):
        artifact = made(network, format, name, False)
        assert artifact.manifest is not None
        assert artifact.manifest.size == artifact.path.stat().st_size
        stored[name] = sum(exporter.describe(artifact.path).bytes_by_dtype.values())
    assert stored[scheme] <= BYTES[scheme] * stored["fp32"]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_format_says_the_same_of_inputs_and_outputs(made: Made, network: str) -> None:
    told = set()
    for format in FORMATS:
        manifest = made(network, format, "fp32", False).manifest
        assert manifest is not None
        told.add(
            (
                *[s.name for s in manifest.inputs],
                *[s.name for s in manifest.outputs],
                *[str(s.shape) for s in manifest.inputs],
            )
        )
    assert len(told) == 1
