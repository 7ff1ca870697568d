"""Mutation testing of the gate: mistakes put into finished files, and how many of those that matter it refuses.

    python benchmarks/gate_power.py results.jsonl [--only PATTERN] [--limit N] [--places 2] [--seeds 2] [--json] [--write docs/coverage.md]

Each network is exported to both formats and quantized by every scheme, through the same calls as the verbs. Then one mistake
at a time is put into each finished file, and the gate judges it as it judges an export. How much the mistake matters is
computed here, without edgedl's judge: on inputs of other seeds and lengths than the proof's, the largest relative error of any part of
any output, divided by the tolerance of the scheme (`effect`). A mistake of an effect above 1 must be refused (goal 99 %); a healthy
export must not be (goal: none). A file that the engine does not run counts for neither. Finished rows stay in the file, so that an
interrupted run continues.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import _independent
import _journal
import click
import numpy as np
from _forked import Limits, results
from coverage_catalogue import case as catalogue
from gate_networks import Network, networks

import edgedl
from edgedl.artifact import Artifact
from edgedl.delivery import Reference, cases_of, prove_session
from edgedl.errors import EdgedlError, GateFailed
from edgedl.exporting import torch_reference
from edgedl.schemes import SCHEMES
from edgedl.spec import Array, Feeds
from edgedl.task import Predict, Task

FORMATS = ("onnx", "tflite")
QUANTIZED = ("w8", "w8a8-dynamic", "w8a8")
CALIBRATION = 8
"""batches that the proof and the ranges are taken from"""
LENGTHS = ({"batch": 5, "time": 9}, {"batch": 12, "time": 23}, {"batch": 3, "time": 31}, {"batch": 16, "time": 40})
DRAWS = 4
"""runs at each of them"""
CUT = 20
"""Length that `length baked in` cuts at: within the range of the time axis."""
FAINT = 1e-3
"""Channels below this share of an output's size are noise of the whole and no part."""
HEAVY = (
    "torch._dynamo", "torch.onnx", "onnxscript", "onnxruntime", "litert_torch", "edgedl_onnx.export", "edgedl_tflite.export", "edgedl.quantizing",
)  # fmt: skip
GOAL = 0.99


@dataclass(frozen=True)
class Job:
    """One network in one format: all schemes, and the mistakes in each file unless `places` is 0."""

    network: Network
    format: str
    seed: int
    places: int

    @property
    def key(self) -> str:
        return f"{self.network.case.name}/{self.format}/{self.seed}"

    def task(self) -> Task:
        """Its calibration inputs are drawn as all others are."""
        case, lengths = self.network.case, {**catalogue.EXAMPLE, **self.network.case.example}
        task = replace(case.task(case.axes[0]), model=self.module, synthetic=False)
        return replace(
            task, calibration=lambda: [case.draw(100 + n, {**lengths, "batch": 4}) for n in range(CALIBRATION)]
        )

    def module(self) -> Any:
        """The weights of this seed."""
        return self.network.case.module(self.seed)


def attempt(job: Job) -> dict[str, Any]:
    """Rows of the exports and of the mistakes in them."""
    task, rows = job.task(), []
    gate, truth = Gate.of(task), Truth.of(job)
    with tempfile.TemporaryDirectory() as folder:
        for scheme, target, make in _exports(job, task, Path(folder)):
            name = f"{job.key}/{scheme}"
            path, sentence = _kept(make, target)
            if path is None:
                rows.append({"key": name, "kind": "export", "verdict": "not exported", "sentence": sentence})
                continue
            healthy = truth.effect(path, scheme)
            rows.append(
                {
                    "key": name,
                    "kind": "export",
                    "verdict": "refused" if sentence else "accepted",
                    "effect": healthy,
                    "sentence": sentence,
                }
            )
            if not sentence and job.places and healthy is not None and healthy <= 1:
                rows += list(_faults(job, name, path, scheme, gate, truth))
    return {"rows": rows}


def _exports(job: Job, task: Task, folder: Path) -> Iterator[tuple[str, Path, Callable[[], Artifact]]]:
    """(scheme, path, what makes the file there); the float one first, of which the others are made."""
    source = folder / f"{task.name}.{job.format}"
    yield "fp32", source, lambda: edgedl.export(task, [job.format], folder)[0]
    for scheme in QUANTIZED if source.exists() else ():
        path = source.with_name(f"{task.name}.{scheme}.{job.format}")
        yield scheme, path, partial(edgedl.quantize, source, scheme, folder, task=task, allow_slower=True)


def _kept(make: Callable[[], Artifact], path: Path) -> tuple[Path | None, str]:
    """The file, and why the gate refused it; None where there is no file at all."""
    try:
        return make().path, ""
    except GateFailed as failure:
        failed = path.with_name(f"{path.name}.failed")
        return failed.rename(path) if failed.exists() else None, str(failure)
    except EdgedlError as refusal:
        return None, str(refusal)


def _faults(job: Job, name: str, path: Path, scheme: str, gate: Gate, truth: Truth) -> Iterator[dict[str, Any]]:
    """A row for each mistake, in a child of its own: an engine may crash on what is in the file."""
    inject = importlib.import_module(f"faults.{job.format}_faults").injected
    changed = path.with_stem("changed")
    time = CUT if "time" in job.network.case.axes[0] else None
    injected = list(inject(path.read_bytes(), job.places, job.seed, time))
    work = (
        (f"{name}/{n}", partial(_judge, content, changed, scheme, gate, truth))
        for n, (_, _, content) in enumerate(injected)
    )
    for (kind, place, _), (key, told) in zip(injected, results(work, 1, Limits(60), path.parent), strict=True):
        told.pop("trace", None)
        yield {
            "key": key,
            "kind": kind,
            "place": place,
            **({"verdict": "does not run"} if "fault" in told else {}),
            **told,
        }


def _judge(content: bytes, path: Path, scheme: str, gate: Gate, truth: Truth) -> dict[str, Any]:
    path.write_bytes(content)
    effect = truth.effect(path, scheme)
    if effect is None:
        return {"verdict": "does not run"}
    sentence = gate.refusal(path, scheme)
    return {"verdict": "refused" if sentence else "accepted", "effect": effect, "sentence": sentence[:200]}


@dataclass(frozen=True)
class Gate:
    """edgedl's own judgement of a file; the original is computed once for each input."""

    reference: Reference

    @staticmethod
    def of(task: Task) -> Gate:
        reference = torch_reference(task)
        return Gate(replace(reference, predict=remembered(reference.predict)))

    def refusal(self, path: Path, scheme: str) -> str:
        """Why the gate refuses the file; empty where it does not."""
        try:
            with edgedl.load(path, threads=1) as session:
                evidence = prove_session(session, self.reference, SCHEMES[scheme], cases_of(session, self.reference))
        except EdgedlError as error:
            return f"dead on arrival: {error}"
        return "; ".join(evidence.failures)


def remembered(predict: Predict) -> Predict:
    known: dict[Any, dict[str, Array]] = {}

    def recall(feeds: Feeds) -> dict[str, Array]:
        key = tuple((name, array.shape, array.tobytes()) for name, array in feeds.items())
        if key not in known:
            known[key] = predict(feeds)
        return known[key]

    return recall


@dataclass(frozen=True)
class Truth:
    """What the network gives on inputs of its own, by a fresh eager module, and the slices that count in it."""

    network: Network
    names: tuple[str, ...]
    draws: tuple[tuple[Sequence[Mapping[str, Array]], Sequence[Sequence[Array]]], ...]
    """for each of LENGTHS: the inputs of several runs, and the outputs of each"""

    @staticmethod
    def of(job: Job) -> Truth:
        reference = torch_reference(job.task())
        assert reference.program
        draws = tuple(_drawn(job, 5000 + DRAWS * n, lengths) for n, lengths in enumerate(LENGTHS))
        return Truth(job.network, tuple(reference.program.outputs), draws)

    def effect(self, path: Path, scheme: str) -> float | None:
        """The largest error of any slice over the tolerance; None where the engine does not run the file."""
        try:
            run = _independent.engine(path)
            found = [[run(feeds) for feeds in drawn] for drawn, _ in self.draws]
        except Exception:
            return None
        errors = [
            self._error(number, [outputs[name] for outputs in got], [outputs[number] for outputs in want])
            for got, (_, want) in zip(found, self.draws, strict=True)
            for number, name in enumerate(self.names)
        ]
        return max(errors) / SCHEMES[scheme].tolerance.relative_rms

    def _error(self, number: int, runs: Sequence[Array], wanted: Sequence[Array]) -> float:
        """Over all runs of the same lengths, so that one row of bad luck does not decide."""
        if any(a.shape != b.shape or not np.isfinite(a).all() for a, b in zip(runs, wanted, strict=True)):
            return 1e9
        got, want = np.concatenate(runs), np.concatenate(wanted)
        if want.dtype.kind != "f":
            return float(np.mean(got != want))
        return max(_relative(got, want, part) for part in [..., *slices(want, self.network.parts.get(number, ()))])


def _drawn(job: Job, seed: int, lengths: Mapping[str, int]) -> tuple[list[dict[str, Array]], list[list[Array]]]:
    case = job.network.case
    dynamic = {name: length for name, length in lengths.items() if name in case.axes[0]}
    feeds = [case.draw(seed + n, dynamic) for n in range(DRAWS)]
    return feeds, [_independent.eager(job.module(), drawn) for drawn in feeds]


def slices(want: Array, parts: Sequence[tuple[int, int, int]]) -> list[Any]:
    """Indices of the parts; without any, of the channels of one magnitude, in decades below the largest."""
    if parts:
        return [(*[slice(None)] * axis, slice(start, stop)) for axis, start, stop in parts]
    axis = 1 if want.ndim == 4 else want.ndim - 1
    if axis == 0:
        return []
    sizes = np.array([_independent.rms(want.take(index, axis)) for index in range(want.shape[axis])])
    below = (
        np.floor(-np.log10(np.maximum(sizes, np.finfo(float).tiny) / sizes.max()))
        if sizes.max()
        else np.zeros(len(sizes))
    )
    audible = sizes > FAINT * sizes.max()
    groups = [np.flatnonzero(audible & (below == decade)) for decade in np.unique(below[audible])]
    return [(*[slice(None)] * axis, group) for group in groups]


def _relative(got: Array, want: Array, part: Any) -> float:
    size = _independent.rms(want[part])
    return min(_independent.rms(got[part].astype(np.float64) - want[part]) / size, 1e9) if size else 0.0


def run(pending: Sequence[Job], journal: Path, workers: int, limits: Limits) -> None:
    """Append the rows of each job as it ends, and say how many."""
    for module in HEAVY:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        work = ((job.key, partial(attempt, job)) for job in pending)
        for number, (key, told) in enumerate(results(work, workers, limits, Path(folder)), 1):
            rows = told.get(
                "rows", [{"key": f"{key}/fault", "kind": "export", "verdict": "not exported", "sentence": str(told)}]
            )
            for row in (*rows, {"key": key, "kind": "job", "seconds": told["seconds"]}):
                _journal.append(journal, row)
            click.echo(
                f"[{number}/{len(pending)}] {key}: {len(rows)} rows, {told['seconds']:.0f} s  {told.get('fault', '')}",
                err=True,
            )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mistakes by kind; those that matter, and how many of them were refused."""
    lines = [
        "| mistake | injected | ran | effect > 1 | refused | effect > 2 | refused |",
        "|---|---|---|---|---|---|---|",
    ]
    mistakes = [row for row in rows if row["kind"] not in ("export", "job")]
    for kind in (*sorted({row["kind"] for row in mistakes}), "all"):
        of = [row for row in mistakes if kind in (row["kind"], "all")]
        ran = [row for row in of if row["verdict"] != "does not run"]
        lines.append(f"| {kind} | {len(of)} | {len(ran)} | {_share(ran, 1)} | {_share(ran, 2)} |")
    return "\n".join(lines)


def _share(ran: Sequence[Mapping[str, Any]], above: float) -> str:
    matter = [row for row in ran if row["effect"] > above]
    refused = sum(row["verdict"] == "refused" for row in matter)
    return f"{len(matter)} | {refused} ({refused / len(matter):.1%})" if matter else "0 | -"


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The healthy exports and the mistakes in a sentence each, then every one that the gate judged wrongly."""
    exports = [row for row in rows if row["kind"] == "export" and row["verdict"] != "not exported"]
    healthy = [row for row in exports if row["effect"] is not None and row["effect"] <= 1]
    blamed = [row for row in healthy if row["verdict"] == "refused"]
    mistakes = [row for row in rows if row["kind"] not in ("export", "job") and row["verdict"] != "does not run"]
    missed = [
        row
        for row in (*mistakes, *exports)
        if row["verdict"] == "accepted" and row["effect"] is not None and row["effect"] > 1
    ]
    lines = [
        f"{len(healthy) - len(blamed)} of {len(healthy)} healthy exports accepted; {len(missed)} files that are not healthy accepted."
    ]
    lines += [
        f"- accepted: `{row['key']}` {row['kind']} {row.get('place', '')}, effect {row['effect']:.2g}" for row in missed
    ]
    lines += [
        f"- refused though its effect is {row['effect']:.2g}: `{row['key']}`: {row['sentence'][:300]}" for row in blamed
    ]
    lines += [
        f"- not exported: `{row['key']}`: {row['sentence'][:300]}"
        for row in rows
        if row.get("verdict") == "not exported"
    ]
    return "\n".join(lines)


def write(page: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace what is between the two marks of the page."""
    before, mark, rest = page.read_text().partition("<!-- gate power -->\n")
    _, end, after = rest.partition("<!-- end of gate power -->")
    page.write_text(f"{before}{mark}{table(rows)}\n\n{summary(rows).splitlines()[0]}\n{end}{after}")


def jobs(places: int, seeds: int) -> list[Job]:
    """The second and further seeds serve for healthy exports only."""
    pairs = [(network, format) for network in networks() for format in FORMATS]
    return [Job(*pair, catalogue.SEED + n, 0 if n else places) for n in range(seeds) for pair in pairs]


@click.command(help=__doc__)
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--only", default="", help="A regular expression of NETWORK/FORMAT/SEED.")
@click.option("--limit", type=int, help="At most so many networks now.")
@click.option("--places", default=3, show_default=True, help="Places in each file for each kind of mistake.")
@click.option("--seeds", default=2, show_default=True, help="Weights of each network; mistakes in the first alone.")
@click.option("--workers", default=2, show_default=True)
@click.option("--seconds", default=600.0, show_default=True, help="Limit of one network in one format.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--write", "page", type=click.Path(path_type=Path), help="Fill the table of this page.")
def main(
    journal: Path,
    only: str,
    limit: int | None,
    places: int,
    seeds: int,
    workers: int,
    seconds: float,
    as_json: bool,
    page: Path | None,
) -> None:
    known = _journal.read(journal)
    wanted = [job for job in jobs(places, seeds) if re.search(only, job.key)]
    run([job for job in wanted if job.key not in known][:limit], journal, workers, Limits(seconds))
    keys = tuple(f"{job.key}/" for job in wanted)
    rows = [row for key, row in _journal.read(journal).items() if key.startswith(keys)]
    click.echo(json.dumps(rows, indent=1) if as_json else f"{table(rows)}\n\n{summary(rows)}")
    if page:
        write(page, rows)


if __name__ == "__main__":
    main()
