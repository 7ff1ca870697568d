"""What int8 gains: `python benchmarks/int8_speed.py FOLDER`, where FOLDER is what `edgedl optimize -o FOLDER` wrote.

Prints, for each format, how many times smaller int8 is and what it loses of the score; then how many times faster the
fastest proven artifact is than ONNX Runtime float, with its 95 % interval, one thread each, measured here and now.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgedl.artifact import Artifact
from edgedl.measure import InputChoice, Plan, measure, subjects_of
from edgedl.measure.summary import between, times
from edgedl.report import Row, join
from edgedl.report.sources import collect
from edgedl.report.verdict import gain_over


def sizes(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.format} {row.scheme}: {row.smaller:.2f}x smaller, score drop {row.drop if row.drop is not None else 'unknown'}"
        for row in rows
        if row.scheme == "w8a8" and row.smaller
    ]


def speed(rows: Sequence[Row]) -> str:
    timed = [row for row in rows if row.median and row.proven]
    baseline = next((row for row in timed if row.format == "onnx" and row.scheme == "fp32"), None)
    if baseline is None:
        return "no proven float ONNX file: nothing to compare with"
    fastest = min(timed, key=lambda row: row.median.value if row.median else 0.0)
    gain = gain_over(fastest, baseline)
    return f"fastest: {fastest.title}, {times(gain)} as fast as {baseline.title} ({between(gain)})"


def rows_of(artifacts: Sequence[Artifact], seconds: float) -> tuple[Row, ...]:
    subjects = subjects_of(artifacts)
    record = measure(subjects, InputChoice(subjects), Plan(seconds=seconds), lambda done, total: None)
    return join(artifacts, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each artifact")
    options = parser.parse_args()
    rows = rows_of(collect([options.folder]).artifacts, options.seconds)
    print("\n".join([*sizes(rows), speed(rows)]))


if __name__ == "__main__":
    main()
