"""What a target tells beside timed runs, or in their place: a line for each subject, a column for each figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgedl.measure import BenchmarkRecord, Figure, HostParity, Measured
from edgedl.measure.agreement import MOST_STEPS
from edgedl.measure.summary import steps_told
from edgedl.report import units
from edgedl.report.columns import Column
from edgedl.report.table import printable, render


def figures_table(record: BenchmarkRecord) -> str:
    """The figures of all subjects; "" where there are none."""
    told = [subject for subject in record.subjects if subject.figures]
    return render(figure_columns(told), told) if told else ""


def figure_columns(told: Sequence[Measured]) -> tuple[Column[Measured], ...]:
    """One for each figure that any of the subjects has."""
    named = dict.fromkeys(figure.name for subject in told for figure in subject.figures)
    return (*_SUBJECT, *map(_column, named), _HOW)


def figure_sentences(record: BenchmarkRecord) -> tuple[str, ...]:
    """Fewer instructions, how each subject that was held against this machine came out, and each note once."""
    held = [f"{s.label} on {s.target}: {parity_told(s.parity)}" for s in record.subjects if s.parity]
    notes = dict.fromkeys(note for subject in record.subjects for note in subject.notes)
    return tuple(printable(sentence) for sentence in (*_fewer(record), *held, *notes))


def _fewer(record: BenchmarkRecord) -> Iterator[str]:
    """Each subject against the first one of its format on the same target; counts have no interval."""
    first: dict[tuple[str, str], Measured] = {}
    for subject in record.subjects:
        base = first.setdefault((subject.place, subject.format), subject)
        counts, others = _instructions(subject), _instructions(base)
        if subject is not base and counts and others:
            more = f"{others / counts:.2f}x fewer" if counts <= others else f"{counts / others:.2f}x more"
            yield f"{subject.label} executes {more} instructions than {base.label}"


def _instructions(subject: Measured) -> float | None:
    return next((f.value for f in subject.figures if (f.name, f.how) == ("instructions", "counted")), None)


def basis_sentences(record: BenchmarkRecord) -> tuple[str, ...]:
    """For each figure that is not measured, what it rests on; subjects whose figures rest on the same are told together."""
    sources: dict[str, list[str]] = {}
    for subject in record.subjects:
        for figure in subject.figures:
            if figure.basis:
                told = f" on {subject.target}: {figure.name} {figure.how} from {figure.basis}"
                sources.setdefault(told, []).append(subject.source)
    return tuple(printable(", ".join(dict.fromkeys(names)) + told) for told, names in sources.items())


def parity_told(parity: HostParity) -> str:
    """`bit-exact with onnxruntime 1.32.0 here`, or how far apart."""
    if parity.exact:
        return f"bit-exact with {parity.host_engine} here"
    apart = f"max abs difference {parity.max_abs:.2g}, relative RMS {parity.relative_rms:.2g}"
    if parity.steps is not None:
        apart += f"{steps_told(parity)} (up to {MOST_STEPS} are usual between versions of an engine)"
    return f"not bit-exact with {parity.host_engine} here: {apart}"


def figure_told(figure: Figure) -> str:
    """The value in its unit, with its interval where it has one: `2,104,311`, `1.50 ms [1.00, 2.00]`."""
    if figure.low is None or figure.high is None:
        return _in_unit(figure.value, figure.unit)
    low, high = (_in_unit(bound, figure.unit) for bound in (figure.low, figure.high))
    return f"{_in_unit(figure.value, figure.unit)} [{low}, {high}]"


def _in_unit(value: float, unit: str) -> str:
    if unit == "ns":
        return units.duration(value)
    if unit == "J":
        return units.energy(value)
    if unit == "B":
        return units.size(value)
    return f"{value:,.0f}" if not unit and value.is_integer() else f"{value:.3g} {unit}".strip()


def _column(name: str) -> Column[Measured]:
    def cell(subject: Measured) -> str:
        return next((figure_told(figure) for figure in subject.figures if figure.name == name), units.NONE)

    return Column(name, cell)


_SUBJECT: tuple[Column[Measured], ...] = (
    Column("artifact", lambda subject: subject.source, words=True),
    Column("engine", lambda subject: subject.engine or subject.runtime, words=True),
    Column("target", lambda subject: subject.place, words=True),
)
_HOW = Column[Measured](
    "how", lambda subject: ", ".join(dict.fromkeys(figure.how for figure in subject.figures)), words=True
)
