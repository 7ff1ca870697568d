"""What the world brings: networks of all kinds through both formats, each file checked independently of edgedl's own proof.

    python benchmarks/coverage.py results.jsonl [--only PATTERN] [--limit N] [--again VERDICT] [--json] [--write docs/coverage.md]

Groups: single operators, classic networks, tiny configurations of transformers, and the smallest architecture of each timm
family (`pip install --no-deps timm torchvision==0.28.0`; skipped without it). Every export is a process of its own with a limit of
time and memory. Its file then runs in ONNX Runtime or LiteRT, called directly, against a fresh eager module, at batches and lengths
that the proof does not try and on inputs of other sizes. Finished rows stay in the file, so that an interrupted run continues.

Verdicts: `right` (proven, and the check agrees), `WRONG` (proven, and the check does not), `refused` (with a sentence) and `fault`
(an internal error, a crash, or a limit that was passed).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib
import importlib.metadata
import json
import platform
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import _independent
import _journal
import click
import numpy as np
from _forked import Limits, results
from coverage_catalogue.case import EXAMPLE, OTHER_LENGTHS, Case

import edgedl
from edgedl.errors import EdgedlError, Unavailable
from edgedl.spec import Array

FORMATS = ("onnx", "tflite")
GOALS = {"onnx": 0.97, "tflite": 0.90}
GROUPS = {
    "operators": "operators", "classics": "classics", "transformers": "transformers_configurations", "timm": "timm_families",
}  # fmt: skip
"""group -> its file in the catalogue"""
SCALES = (1.0, 3.0, 0.1, 1.0)
HEAVY = (
    "torch._dynamo", "torch.onnx", "onnxscript", "onnxscript.function_libs.torch_lib.ops", "onnxruntime", "litert_torch",
    "ai_edge_litert.interpreter",    "edgedl_onnx.export", "edgedl_tflite.convert", "edgedl_tflite.export", "edgedl.exporting",
)  # fmt: skip
PACKAGES = ("torch", "onnx", "onnxruntime", "litert-torch", "ai-edge-litert", "transformers", "timm")
CAUSES = {
    "operator": r"no TFLite counterpart|no translation of the operator|cannot be written as ONNX|the operator ",
    "dynamic axis": r"cannot carry axis|fixed axis|dynamic|depends on the length|multiple of the length",
    "not traceable": r"cannot be exported|control flow|data-dependent",
    "gate": r"is not proven|dead on arrival",
}
"""what a refusal is about -> words of its sentence"""


@dataclass(frozen=True)
class Job:
    """One case in one format with these axes dynamic."""

    case: Case
    dynamic: tuple[str, ...]
    format: str

    @property
    def key(self) -> str:
        return f"{self.case.group}/{self.case.name}/{'+'.join(self.dynamic) or 'static'}/{self.format}"


def jobs(groups: Iterable[str]) -> list[Job]:
    """Every case, in each of its variants and in both formats; a group whose package is missing is skipped, with a note."""
    return [
        Job(case, axes, format)
        for group in groups
        for case in _cases(group)
        for axes in case.axes
        for format in FORMATS
    ]


def _cases(group: str) -> list[Case]:
    try:
        found: list[Case] = importlib.import_module(f"coverage_catalogue.{GROUPS[group]}").cases()
    except Unavailable as missing:
        click.echo(f"{group} skipped: {missing}", err=True)
        return []
    return found


def attempt(job: Job) -> dict[str, Any]:
    """The row of one job; what is no EdgedlError is the caller's to report."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        try:
            (artifact,) = edgedl.export(job.case.task(job.dynamic), [job.format], folder)
        except EdgedlError as refusal:
            return refused(str(refusal), type(refusal).__name__)
        exported = round(time.monotonic() - start, 2)
        assert artifact.manifest
        names = [spec.name for spec in artifact.manifest.outputs]
        trouble = [found for trial in range(job.case.trials) if (found := check(job, artifact.path, names, trial))]
        return {"verdict": "WRONG" if trouble else "right", "sentence": "; ".join(trouble), "export_seconds": exported}


def refused(sentence: str, kind: str) -> dict[str, Any]:
    return {"verdict": "refused", "sentence": sentence, "kind": kind}


def cause(sentence: str) -> str:
    """What a refusal is about."""
    return next((name for name, words in CAUSES.items() if re.search(words, sentence)), "other")


def names_line(sentence: str) -> bool:
    return bool(re.search(r"\w+\.py:\d+", sentence))


def check(job: Job, path: Path, names: Sequence[str], trial: int) -> str:
    """What the engine gives against a fresh eager module, at one draw; empty where they agree."""
    lengths = {name: OTHER_LENGTHS[trial % len(OTHER_LENGTHS)][name] for name in job.dynamic}
    feeds = job.case.draw(1000 + trial, lengths, SCALES[trial % len(SCALES)])
    want = _independent.eager(job.case.module(), feeds)
    told = f"at {dict({**EXAMPLE, **job.case.example}, **lengths)}, scale {SCALES[trial % len(SCALES)]}"
    try:
        found = _independent.engine(path)(feeds)
    except Exception as error:
        return f"the engine refuses what is proven {told}: {str(error).splitlines()[0][:200]}"
    got = [found[name] for name in names]
    if len(got) != len(want):
        return f"{len(got)} outputs, expected {len(want)}"
    differences = _differences(job, feeds, got, want)
    return "; ".join(
        f"{name}: {difference} {told}" for name, difference in zip(names, differences, strict=True) if difference
    )


def _differences(job: Job, feeds: dict[str, Array], got: list[Array], want: list[Array]) -> list[str]:
    """Per output; what rounding does to the original itself is not held against the file."""
    plain = [_independent.wrong(a, b) for a, b in zip(got, want, strict=True)]
    if not any(plain):
        return plain
    noise = _independent.rounding(job.case.module, feeds, want)
    return [_independent.wrong(a, b, n) for a, b, n in zip(got, want, noise, strict=True)]


def run(pending: Sequence[Job], journal: Path, workers: int, limits: Limits) -> None:
    """Append a row for each job as it ends, and print it."""
    for module in HEAVY:
        importlib.import_module(module)
    about = {job.key: job for job in pending}
    with tempfile.TemporaryDirectory() as folder:
        work = ((job.key, partial(attempt, job)) for job in pending)
        for number, (key, told) in enumerate(results(work, workers, limits, Path(folder)), 1):
            job = about[key]
            row = {
                "key": key,
                "group": job.case.group,
                "format": job.format,
                "axes": "+".join(job.dynamic) or "static",
                **_verdict(told),
            }
            _journal.append(journal, row)
            click.echo(
                f"[{number}/{len(pending)}] {row['verdict']:7} {key} {row['seconds']:.1f} s  {row['sentence'][:160]}",
                err=True,
            )


def _verdict(told: dict[str, Any]) -> dict[str, Any]:
    return {"verdict": "fault", "sentence": told.pop("fault"), **told} if "fault" in told else told


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: verdicts by group and format, with the total of each format."""
    lines = ["| group | format | files | proven | WRONG | refused | fault |", "|---|---|---|---|---|---|---|"]
    for format in FORMATS:
        for group in (*GROUPS, "all"):
            of = [row for row in rows if row["format"] == format and group in (row["group"], "all")]
            if of:
                counts = Counter(row["verdict"] for row in of)
                share = f"{counts['right']} ({counts['right'] / len(of):.1%})"
                lines.append(
                    f"| {group} | {format} | {len(of)} | {share} | {counts['WRONG']} | {counts['refused']} | {counts['fault']} |"
                )
    return "\n".join(lines)


def causes(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: refusals by what they are about, and how many of them name a line."""
    lines = ["| refused for | onnx | tflite | names the line |", "|---|---|---|---|"]
    of = [
        (cause(row["sentence"]), row["format"], names_line(row["sentence"]))
        for row in rows
        if row["verdict"] == "refused"
    ]
    for name in (*CAUSES, "other"):
        formats = Counter(format for found, format, _ in of if found == name)
        named = sum(line for found, _, line in of if found == name)
        lines += [f"| {name} | {formats['onnx']} | {formats['tflite']} | {named} |"] if formats else []
    return "\n".join(lines)


def refusals(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what is not proven, with the sentence."""
    lines = [
        f"- `{row['key']}` ({row['verdict']}): {_short(row['sentence'])}" for row in rows if row["verdict"] != "right"
    ]
    return "\n".join(sorted(lines))


def _short(sentence: str) -> str:
    """Without the folders of this machine."""
    return re.sub(r"(?:/[\w.+-]+)+/([\w.-]+)", r"\1", sentence).replace("\n", " ")[:400]


def goals(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One line for each goal that is missed."""
    wrong = [row["key"] for row in rows if row["verdict"] == "WRONG"]
    if wrong:
        yield f"{len(wrong)} files are wrong, goal 0: {', '.join(wrong)}"
    for format, goal in GOALS.items():
        of = [row["verdict"] == "right" for row in rows if row["format"] == format]
        if of and np.mean(of) < goal:
            yield f"{format}: {np.mean(of):.1%} proven, goal {goal:.0%}"
    unnamed = [row["key"] for row in rows if row["verdict"] == "refused" and not names_line(row["sentence"])]
    if unnamed:
        yield f"{len(unnamed)} refusals name no line: {', '.join(unnamed)}"


def write(page: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Replace what is between the two marks of the page."""
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    seconds = sum(row["seconds"] for row in rows) / max(len(rows), 1)
    text = (
        f"Measured on {time.strftime('%Y-%m-%d')} with Python {platform.python_version()}, {versions}; "
        f"{seconds:.1f} s a file on average.\n\n{table(rows)}\n\n{causes(rows)}\n\nNot proven:\n\n{refusals(rows) or '- nothing'}\n"
    )
    before, mark, rest = page.read_text().partition("<!-- coverage -->\n")
    _, end, after = rest.partition("<!-- end of coverage -->")
    page.write_text(f"{before}{mark}{text}{end}{after}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


@click.command(help=__doc__)
@click.argument("journal", type=click.Path(path_type=Path))
@click.option(
    "--group", "groups", multiple=True, type=click.Choice(list(GROUPS)), default=tuple(GROUPS), help="Repeatable."
)
@click.option("--only", default="", help="A regular expression of keys, as in conv2d.*static/onnx.")
@click.option("--limit", type=int, help="At most so many exports now.")
@click.option(
    "--again",
    multiple=True,
    type=click.Choice(["right", "WRONG", "refused", "fault"]),
    help="Repeat rows of this verdict.",
)
@click.option("--workers", default=2, show_default=True)
@click.option("--seconds", default=180.0, show_default=True, help="Limit of one export with its check.")
@click.option("--memory", default=6.0, show_default=True, help="Limit in GiB.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--write", "page", type=click.Path(path_type=Path), help="Fill the table of this page.")
def main(
    journal: Path, groups: tuple[str, ...], only: str, limit: int | None, again: tuple[str, ...], workers: int, seconds: float,
    memory: float, as_json: bool, page: Path | None,
) -> None:  # fmt: skip
    wanted = [job for job in jobs(groups) if re.search(only, job.key)]
    known = {key: row for key, row in _journal.read(journal).items() if row["verdict"] not in again}
    pending = [job for job in wanted if job.key not in known][:limit]
    run(pending, journal, workers, Limits(seconds, int(memory * 2**30)))
    everything = _journal.read(journal)
    rows = [everything[job.key] for job in wanted if job.key in everything]
    click.echo(json.dumps(rows, indent=1) if as_json else f"{refusals(rows)}\n\n{causes(rows)}\n\n{table(rows)}")
    for missed in goals(rows):
        click.echo(missed, err=True)
    if page:
        write(page, rows)


if __name__ == "__main__":
    main()
