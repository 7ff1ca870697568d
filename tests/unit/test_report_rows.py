from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from test_measure_samples import evidence, measured, record

from edgedl.artifact import Artifact, Manifest, manifest_path
from edgedl.errors import InvalidInput
from edgedl.report import build, join
from edgedl.report.evidence import evidence_of
from edgedl.report.sources import collect


def artifact(folder: Path, name: str, size: int, scheme: str = "fp32", drop: float = 0.0) -> Artifact:
    path = folder / name
    path.write_bytes(name.encode().ljust(size, b"."))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fmt = name.rpartition(".")[2]
    manifest = Manifest(name.split(".")[0], fmt, scheme, (), (), size, digest, evidence=evidence(scheme, drop))
    manifest_path(path).write_text(manifest.to_json())
    return Artifact.open(path)


def test_manifest_and_measurement_meet_by_content(tmp_path: Path) -> None:
    one = artifact(tmp_path, "net.onnx", 4000)
    other = artifact(tmp_path, "net.w8a8.onnx", 1000, "w8a8", 0.002)
    assert other.manifest
    renamed = measured("renamed.onnx", 50, sha256=other.manifest.sha256, size=1000)
    first, second = join([one, other], record(renamed))
    assert (first.name, first.scheme, first.size, first.smaller) == ("net.w8a8.onnx", "w8a8", 1000, 4.0)
    assert first.median and first.drop == 0.002 and first.proven
    assert (second.name, second.measured, second.smaller) == ("net.onnx", None, 1.0)


def test_an_engine_that_computes_something_else_is_not_recommended(tmp_path: Path) -> None:
    one = artifact(tmp_path, "net.onnx", 4000)
    assert one.manifest
    far, near = (
        measured("net.onnx", us, sha256=one.manifest.sha256, golden_rms=rms) for us, rms in ((10, 0.5), (50, 1e-6))
    )
    report = build([one], record(far, near))
    assert [row.proven for row in report.rows] == [False, True]
    assert report.choice.row is report.rows[1]
    assert any("relative RMS 0.5 to its golden outputs" in warning for warning in report.warnings)


def test_a_file_that_changed_since_it_was_measured_is_refused(tmp_path: Path) -> None:
    one = artifact(tmp_path, "net.onnx", 4000)
    with pytest.raises(InvalidInput, match=r"net\.onnx has changed since it was measured"):
        join([one], record(measured("net.onnx", 50, sha256="0" * 64)))


def test_the_original_has_the_score_that_the_artifacts_were_held_against(tmp_path: Path) -> None:
    one = artifact(tmp_path, "net.w8a8.onnx", 1000, "w8a8", 0.002)
    (row, _) = join([one], record(measured("net.py:task", 50)))
    assert (row.format, row.score, row.proven, row.scheme) == ("torch", 0.989, None, "fp32")


def test_evidence_is_the_worst_of_all_cases() -> None:
    data = {"passed": True, "parity": [{"relative_rms": 0.1, "cosine": 0.9}, {"relative_rms": 0.2, "cosine": 0.99}, {}]}
    found = evidence_of(data)
    assert found and (found.relative_rms, found.cosine, found.score, found.drop_interval) == (0.2, 0.9, None, None)


@pytest.mark.parametrize(
    "data",
    [
        {"passed": "yes"},
        {"passed": True, "parity": 3, "score": [1], "failures": "no"},
        {"passed": True, "parity": [None, {"cosine": "x", "relative_rms": float("nan")}], "score": {"value": True}},
        {"passed": True, "score": {"name": 3, "value": None, "interval": [1, None]}},
    ],
)
def test_foreign_evidence_is_tolerated(data: dict[str, object]) -> None:
    found = evidence_of(data)
    assert found and found.score is None and found.cosine is None and found.drop_interval is None
    assert found.passed is (data["passed"] is True)


def test_no_evidence_is_none() -> None:
    assert evidence_of({}) is None


def test_a_folder_gives_its_artifacts_and_its_one_record(tmp_path: Path) -> None:
    artifact(tmp_path, "net.onnx", 4000)
    (tmp_path / "bare.tflite").write_bytes(b"model")
    (tmp_path / "notes.json").write_text("[]")
    (tmp_path / "record.json").write_text(record(measured("other.onnx", 5)).to_json())
    found = collect([tmp_path, tmp_path / "net.onnx"])
    assert [a.path.name for a in found.artifacts] == ["bare.tflite", "net.onnx"]
    assert found.record and found.record.subjects[0].source == "other.onnx"
    assert [row.proven for row in build(found.artifacts, found.record).rows] == [None, None, True]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.onnx", None, "no such file or folder"),
        (
            "notes.txt",
            "x",
            "is neither a model file nor a benchmark record: expected one of .onnx, .tflite, .ncnn, .json",
        ),
        ("notes.json", "{}", "is not a benchmark record (kind None"),
        ("empty", "", "holds no model file and no benchmark record"),
    ],
)
def test_sources_that_are_none_are_refused(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    path = tmp_path / name
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        collect([path])
    assert said in str(caught.value)


def test_two_records_are_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(json.loads(record(measured("x.onnx", 5)).to_json())))
    with pytest.raises(InvalidInput, match="more than one benchmark record") as caught:
        collect([tmp_path])
    assert str(caught.value).endswith(f"edgedl report {tmp_path / 'a.json'}")


@pytest.mark.parametrize("place", ["beside the record", "as it was given", "from the record on"])
def test_a_record_alone_finds_the_files_that_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    build_folder, records = tmp_path / "build", tmp_path / "records"
    build_folder.mkdir()
    records.mkdir()
    one = artifact(build_folder, "net.onnx", 4000)
    where = {
        "beside the record": (build_folder, "gone/net.onnx"),
        "as it was given": (records, "build/net.onnx"),
        "from the record on": (records, "../build/net.onnx"),
    }
    folder, path = where[place]
    subject = measured("net.onnx", 5, sha256=one.sha256, path=path)
    (folder / "record.json").write_text(record(subject).to_json())
    if place != "as it was given":
        monkeypatch.chdir("/")
    (found,) = collect([folder / "record.json"]).artifacts
    assert found.path.samefile(one.path)
    assert found.manifest and found.manifest.evidence


def test_a_measured_file_that_has_changed_is_not_the_one(tmp_path: Path) -> None:
    artifact(tmp_path, "net.onnx", 4000)
    (tmp_path / "record.json").write_text(record(measured("net.onnx", 5, sha256="0" * 64)).to_json())
    found = collect([tmp_path / "record.json"])
    assert found.artifacts == ()
    assert "net.onnx, as measured, was found neither beside the record" in build((), found.record).choice.sentence


def test_nothing_to_report_is_refused() -> None:
    with pytest.raises(InvalidInput, match="nothing to report"):
        build([], None)
