"""What pruning gains: `python benchmarks/pruning.py -o FOLDER`; what is there already is not made again.

Trains a ResNet-20 and a MobileNetV2 on handwritten digits, prunes each by `edgedl prune`, and prints, with 95 % intervals
from interleaved runs on one thread: the multiply-accumulates and the wall time that are left, and the accuracy before and
after. Then both are written in int8 (w8a8), and the pruned int8 file is held against the int8 file of the original.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgedl import Artifact, TaskReference, export, quantize, strict_json, train
from edgedl.measure import Estimate, InputChoice, Plan, measure, speedup, subjects_of
from edgedl.measure.summary import between, times, warnings
from edgedl.pruning.outcome import Options
from edgedl.pruning.run import prune
from edgedl.pruning.search import Target

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Goal:
    """network: of pruning_networks.py. macs: the share that is to be left. fewer, faster: at least so many times."""

    network: str
    macs: float
    fewer: float
    faster: float
    lost: float = 0.005


GOALS = (Goal("resnet20", 0.49, 2.0, 1.5), Goal("mobilenet", 0.4, 1.0, 1.7))


def trained(network: str, folder: Path) -> TaskReference:
    reference = TaskReference(f"{HERE / 'pruning_networks.py'}:{network}")
    path = folder / "original" / f"{network}.safetensors"
    if not path.is_file():
        train(reference, path.parent)
    return TaskReference(reference.text, str(path))


def pruned(goal: Goal, original: TaskReference, folder: Path, options: Options) -> dict[str, object]:
    """What `edgedl prune` found, as its JSON."""
    out = folder / goal.network
    told = out / "outcome.json"
    if not told.is_file():
        began = time.process_time()
        found = prune(original, out, options, said=print)
        told.write_text(strict_json.dumps({**asdict(found), "artifact": None, "cpu": time.process_time() - began}))
    return dict(json.loads(told.read_text()))


def quantized(reference: TaskReference, out: Path) -> Artifact:
    source = out / f"{reference.text.rpartition(':')[2]}.onnx"
    target = source.with_suffix(".w8a8.onnx")
    if not target.is_file():
        artifact = Artifact.open(source) if source.is_file() else export(reference, out=out)[0]
        quantize(artifact, "w8a8", task=reference, allow_slower=True, max_drop=0.02)
    return Artifact.open(target)


def report(goal: Goal, folder: Path, options: Options, seconds: float) -> None:
    original = trained(goal.network, folder)
    found = pruned(goal, original, folder, options)
    before, after, score = found["before"], found["after"], found["score"]
    gain = Estimate(**found["gain"])
    fewer = before["macs"] / after["macs"]
    print(
        f"{goal.network}: {fewer:.2f}x fewer MACs (goal {goal.fewer}x), "
        f"{times(gain)} as fast ({between(gain)}; goal {goal.faster}x)\n"
        f"  accuracy {score['reference']:.4f} -> {score['value']:.4f} (goal: at most {goal.lost} lost), "
        f"{found['rounds']} trainings, {found['cpu']:.0f} s of CPU"
    )
    for line in int8_lines(goal, original, folder, seconds):
        print(f"  {line}")


def int8_lines(goal: Goal, original: TaskReference, folder: Path, seconds: float) -> list[str]:
    small = TaskReference(original.text, str(folder / goal.network))
    files = [quantized(original, folder / "original"), quantized(small, folder / goal.network)]
    floats = [Artifact.open(folder / part / f"{goal.network}.onnx") for part in ("original", goal.network)]
    subjects = subjects_of([*files, *floats])
    record = measure(subjects, InputChoice(subjects), Plan(seconds=seconds), lambda done, total: None)
    whole, both, plain, cut = record.subjects
    lines = [
        f"{what}: {times(gain)} ({between(gain)})"
        for what, gain in (
            ("pruned against original, both float", speedup(cut, plain)),
            ("int8 against original float", speedup(whole, plain)),
            ("pruned and int8 against original float", speedup(both, plain)),
            ("pruned and int8 against int8 alone", speedup(both, whole)),
        )
    ]
    cpu = [summary.cpu_ns for summary in record.summaries if summary]
    lines.append(f"by CPU time: pruned {cpu[2] / cpu[3]:.2f}x of float, pruned and int8 {cpu[0] / cpu[1]:.2f}x of int8")
    lines += [f"{file.path.name}: {score(file)}" for file in files]
    return lines + warnings(record)


def score(file: Artifact) -> str:
    assert file.manifest
    return f"{file.manifest.size} bytes, accuracy {file.manifest.evidence['score']['value']:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--network", choices=[goal.network for goal in GOALS])
    parser.add_argument("--importance", default="magnitude")
    parser.add_argument("--scope", default="global")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each artifact")
    options = parser.parse_args()
    for goal in GOALS:
        if options.network in (None, goal.network):
            asked = Options(target=Target("macs", goal.macs), importance=options.importance, scope=options.scope)
            report(goal, options.out, asked, options.seconds)


if __name__ == "__main__":
    main()
