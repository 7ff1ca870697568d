"""Profiles: what the engines tell, and what is made of it; no claim is made about times."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_measure_samples import measured, record
from tflite_models import exported, quantized, sample

from edgedl import TaskReference, registry
from edgedl.artifact import Artifact
from edgedl.errors import EngineFailed, InvalidInput, Unsupported
from edgedl.measure import BenchmarkRecord, InputChoice, OperatorCost, Plan, Profile, Roof, measure, subjects_of
from edgedl.measure import roofline as probe
from edgedl.measure.profile import verdict
from edgedl.report.operators import operators, short
from edgedl_litert import runtime as litert
from edgedl_ort import profile as ort
from edgedl_tflite import exporter

ROOF = Roof(10e9, 10e9, 1, "made up")
COSTS = (
    OperatorCost("a", "Conv", 1000, 100, 100, 8000),
    OperatorCost("b", "Add", 500, 2000, 2000, 0),
    OperatorCost("c", "Reshape", 500, 4, 4, 0),
    OperatorCost("d", "Loop", 100, 4, 4, None),
)
PROFILE = Profile("made up", 10, 2500, COSTS, arena_bytes=5000, least_bytes=4000, roof=ROOF)


def test_the_roofline_tells_what_bounds_an_operator() -> None:
    assert [ROOF.bound(cost) for cost in COSTS] == ["computing", "memory", "overhead", "overhead"]
    assert ROOF.share(COSTS[0]) == pytest.approx(0.8)
    assert ROOF.share(COSTS[1]) == pytest.approx(0.8)
    shares = PROFILE.by_bound(ROOF)
    assert list(shares) == ["computing", "overhead", "memory"]
    assert sum(shares.values()) == pytest.approx(1)


def test_one_sentence_says_what_bounds_the_model() -> None:
    assert verdict(PROFILE) == (
        "bound by the processor's arithmetic in 48% of its time; 48% of the operators' time is Conv; it reaches 57% of the "
        "measured roofline"
    )
    assert "for want of a roofline" in verdict(replace(PROFILE, roof=None))


def test_the_table_is_sorted_and_says_what_profiling_costs() -> None:
    subject = measured("a.onnx", 1, profile=PROFILE)
    lines = operators(subject, 1000.0, most=3).splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["Conv", "Add", "Reshape"]
    assert lines[6] == "and 1 more, 100 ns in all"
    assert "Profiling made a run 2.5x as long: short operators are overstated" in lines
    assert "The engine's arena held 5.00 kB of tensors at its peak" in lines
    assert "The tensors that are alive at one time take 4.00 kB at the least" in lines
    assert operators(measured("a.onnx", 1), None) == ""
    assert "of the roof" not in operators(replace(subject, profile=replace(PROFILE, roof=None)), None)


def test_a_profile_survives_the_record() -> None:
    made = record(measured("a.onnx", 10, profile=PROFILE))
    assert BenchmarkRecord.from_json(made.to_json(), "x") == made


@pytest.mark.parametrize("change", [{"operators": ()}, {"whole_ns": -1.0}, {"arena_bytes": -1}, {"least_bytes": -5}])
def test_impossible_profiles_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="a profile needs operators"):
        replace(PROFILE, **change)
    with pytest.raises(InvalidInput, match="negative cost"):
        replace(COSTS[0], ns=-1)
    with pytest.raises(InvalidInput, match="rates above 0"):
        replace(ROOF, bytes_per_second=0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("node_Conv_1", "node_Conv_1"),
        ("a.b.C/d.Conv2d_0;1", "a.b.C/d.Conv2d_0"),
        ("x/y.ReLU_2;;x/y.BatchNorm_1;;x/y.torch.nn.modules.Conv2d_0;1", "x/y.torch.nn.modules.Conv2d_0"),
        ("n" * 40, "..." + "n" * 33),
    ],
)
def test_long_names_keep_their_end(name: str, said: str) -> None:
    assert short(name) == said


def _event(name: str, start: int, micros: int, kind: str = "Conv", **told: object) -> dict[str, object]:
    shapes = {"input_type_shape": [{"float": [1, 8]}], "output_type_shape": [{"float": [1, 4]}]}
    sizes = {"activation_size": "32", "parameter_size": "128", "output_size": "16", "mem_in_use_peak": "4096"}
    args = {"op_name": kind, **shapes, **sizes, **told}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": micros, "args": args}


def _written(folder: Path, *events: object) -> Path:
    path = folder / "profile.json"
    path.write_text(json.dumps(events))
    return path


def test_the_profile_of_onnxruntime_is_read(tmp_path: Path) -> None:
    run = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 90, "args": {}}
    nodes, runs = ort.read(
        _written(tmp_path, run, _event("b", 60, 10), _event("a", 5, 50, "Loop"), _event("in_a", 10, 20))
    )
    assert runs == [90]
    assert [(node.name, node.kind, node.micros) for node in nodes] == [("a", "Loop", 50), ("b", "Conv", 10)]
    assert (nodes[0].bytes_in, nodes[0].bytes_out, nodes[0].arena_peak) == (160, 16, 4096)
    assert (nodes[0].inputs, nodes[0].outputs) == ([(1, 8)], [(1, 4)])


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"cat": 1}', '[{"cat": "Node", "name": "x_kernel_time"}]'])
def test_a_profile_that_was_cut_off_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(EngineFailed, match="left no whole profile"):
        ort.read(path)


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "macs"),
    [
        ("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], [(1, 4, 8, 8)], 4 * 64 * 27),
        ("QLinearConv", [(1, 8, 8, 3), (), (), (4, 3, 3, 3)], [(1, 8, 8, 4)], 4 * 64 * 27),
        ("ConvTranspose", [(1, 3, 4, 4), (3, 5, 2, 2)], [(1, 5, 8, 8)], 48 * 20),
        ("MatMul", [(2, 5, 8), (8, 3)], [(2, 5, 3)], 240),
        ("Gemm", [(5, 8), (8, 3)], [(5, 3)], 120),
        ("LSTM", [(7, 2, 5), (1, 16, 5), (1, 16, 4)], [(7, 1, 2, 4)], 14 * (80 + 64)),
        ("Add", [(5,), (5,)], [(5,)], 0),
        ("Attention", [(5,)], [(5,)], None),
        ("Conv", [(1, 3, 8, 8)], [(1, 4, 8, 8)], None),
    ],
)
def test_macs_follow_from_the_shapes_that_ran(
    kind: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], macs: int | None
) -> None:
    assert ort.macs(ort.Node("n", kind, 0, 1, 0, 0, inputs, outputs, 0)) == macs


def test_onnxruntime_profiles_a_model(digits_onnx: Artifact) -> None:
    feeds = digits_onnx.golden()[0]
    found = ort.profile(digits_onnx, "cpu", 1, {}, [feeds], 5)
    assert {cost.kind for cost in found.operators} >= {"Conv", "Gemm"}
    gemm = next(cost for cost in found.operators if cost.kind == "Gemm")
    rows = len(next(iter(feeds.values())))
    assert gemm.macs == rows * 64 * 10
    assert gemm.bytes_in >= 4 * 64 * 10
    assert (found.arena_bytes or 0) > 0
    again = ort.profile(digits_onnx, "cpu", 1, {}, [feeds], 5)
    assert again.arena_bytes == found.arena_bytes


@pytest.mark.parametrize("kind", ["mlp", "cnn", "encoder"])
def test_the_pieces_of_a_tflite_file_compute_what_the_whole_computes(kind: str, tmp_path: Path) -> None:
    path = exported(kind)
    with litert.load(Artifact(path), "cpu", 1) as session:
        feeds = {session.inputs[0].name: sample(kind, int(session.inputs[0].shape[0])).astype(session.inputs[0].dtype)}
        expected = session.run(feeds)
    parts = list(exporter.pieces(path, feeds))
    assert sum(part.macs or 0 for part in parts) == exporter.describe(path).macs
    (tmp_path / "last.tflite").write_bytes(parts[-1].content)
    with litert.load(Artifact(tmp_path / "last.tflite"), "cpu", 1) as session:
        (output,) = session(*parts[-1].inputs)
    assert any(np.allclose(output, array, atol=1e-4) for array in expected.values() if array.shape == output.shape)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-dynamic", "fp16"])
def test_quantized_files_are_profiled(scheme: str) -> None:
    artifact = Artifact(quantized("cnn", scheme))
    with litert.load(artifact, "cpu", 1) as session:
        feeds = {session.inputs[0].name: sample("cnn", int(session.inputs[0].shape[0]))}
    found = litert.profile(artifact, "cpu", 1, {}, [feeds], 5)
    kinds = [cost.kind for cost in found.operators]
    assert "CONV_2D" in kinds
    assert scheme != "fp16" or "DEQUANTIZE" not in kinds  # of constants: folded when the file is loaded
    assert 0 < (found.least_bytes or 0) < sum(cost.bytes_in + cost.bytes_out for cost in found.operators)


def test_a_recurrent_file_is_profiled_with_its_loop(tmp_path: Path) -> None:
    """Its body is another graph, which goes with the operator."""
    from test_tflite_recurrent import export, feeds, whole

    network = whole("lstm")
    arrays = feeds(network)
    found = litert.profile(Artifact(export(network, arrays, tmp_path)), "cpu", 1, {}, [arrays], 5)
    (loop,) = [cost for cost in found.operators if cost.kind == "WHILE"]
    assert (loop.macs or 0) > 0


def test_eager_torch_is_profiled_in_the_order_of_its_calls() -> None:
    reference = TaskReference("zoo:digits")
    feeds = reference.resolve().example_inputs()
    found = registry.runtime("torch").profile(reference, "cpu", 1, {}, [feeds], 5)
    kinds = [cost.kind for cost in found.operators]
    assert kinds.index("conv2d") < kinds.index("max_pool2d") < kinds.index("linear")
    (linear,) = [cost for cost in found.operators if cost.kind == "linear"]
    assert linear.macs == 64 * 10
    with pytest.raises(Unsupported, match="profiled on the CPU"):
        registry.runtime("torch").profile(TaskReference("zoo:translation"), "cpu", 1, {}, [feeds], 5)


def test_openvino_tells_each_node_and_the_kernel_that_ran_it(digits_onnx: Artifact) -> None:
    pytest.importorskip("openvino")
    feeds = digits_onnx.golden()[0]
    found = registry.runtime("openvino").profile(digits_onnx, "cpu", 1, {"precision": "f32"}, [feeds], 5)
    assert {cost.kind for cost in found.operators} >= {"Convolution", "FullyConnected"}
    assert any(cost.name.endswith("f32]") or "FP32]" in cost.name for cost in found.operators)
    assert 0 < found.total_ns <= found.whole_ns * 1.001


def test_benchmarks_carry_the_profile_and_the_roofline(
    digits_onnx: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    subjects = subjects_of([digits_onnx])
    plan = Plan(runs=6, seconds=0.01, rounds=6, warmup_seconds=0.0, profile=True)
    (subject,) = measure(subjects, InputChoice(subjects), plan, lambda done, total: None).finished
    assert subject.profile and subject.profile.roof
    assert subject.profile.roof.threads == 1
    assert len(list((tmp_path / "edgedl").glob("roofline-*-1.json"))) == 1


def test_an_engine_without_a_profile_is_a_doubt_and_no_failure(engine: Path) -> None:
    from made_up_engine import fake_model

    subjects = subjects_of([fake_model(engine, "a.onnx")], ["fake"])
    plan = Plan(runs=6, seconds=0, rounds=6, warmup_seconds=0.0, profile=True)
    (subject,) = measure(subjects, InputChoice(subjects), plan, lambda done, total: None).finished
    assert subject.profile is None
    assert subject.doubts == ("no profile: fake 1.0 does not tell what its operators take",)


RATES = probe.Rates(5e9, (50e9, 40e9, 30e9, 20e9, 10e9))


def test_the_roofline_is_kept_and_fits_the_working_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(probe, "_measured", lambda threads: asked.append(threads) or RATES)
    rates = [
        probe.roofline(2, size, tmp_path).bytes_per_second for size in (1, 1 << 18, (1 << 18) + 1, 1 << 24, 1 << 40)
    ]
    assert rates == [50e9, 50e9, 40e9, 20e9, 10e9]
    assert asked == [2]
    (kept,) = tmp_path.iterdir()
    kept.write_text("{")
    probe.roofline(2, 1, tmp_path)
    assert asked == [2, 2]
    assert json.loads(kept.read_text()) == json.loads(json.dumps(asdict(RATES)))


@given(st.floats(1, 1e9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**12))
def test_every_cost_has_a_bound(ns: float, bytes_in: int, bytes_out: int, macs: int) -> None:
    cost = OperatorCost("a", "b", ns, bytes_in, bytes_out, macs)
    assert ROOF.bound(cost) in ("computing", "memory", "overhead")
    assert (ROOF.bound(cost) == "overhead") == (ROOF.share(cost) < 0.25)
