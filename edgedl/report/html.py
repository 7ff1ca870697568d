"""The report as one HTML file that loads nothing: drawings are inline, the raw record is embedded."""

from __future__ import annotations

import html
from itertools import count

from edgedl.measure.plan import MODES
from edgedl.report import charts, layers, operators, svg
from edgedl.report.build import Report
from edgedl.report.charts import Palette
from edgedl.report.columns import benchmark_columns, report_columns
from edgedl.report.drift import drift
from edgedl.report.figures import basis_sentences, figure_columns, figure_sentences
from edgedl.report.markup import download, drawn, facts, folded, page, sentences, table
from edgedl.report.matrix import columns as matrix_columns
from edgedl.report.method import environment_facts, machines, method
from edgedl.report.sustained import throttle
from edgedl.report.tradeoffs import Tradeoff, tradeoffs

SHORT = 40
"""Tables of up to so many lines are unfolded."""


def render(report: Report) -> str:
    """The whole page."""
    palette = Palette.of(report.rows)
    body = "".join(
        [
            f"<h1>{html.escape(report.title)}</h1>",
            f'<p class="verdict{"" if report.choice.row else " none"}">{html.escape(report.choice.sentence)}</p>',
            sentences("", report.warnings, "warnings"),
            table(report_columns(report.rows), report.rows, report.choice.row),
            _legend(palette),
            _charts(report, palette),
            _compared(report),
            _timings(report),
            _figures(report),
            _operators(report),
            _layers(report),
            _facts(report),
        ]
    )
    return page(report.title, body, _raw(report))


def _charts(report: Report, palette: Palette) -> str:
    rows = report.rows
    plots = (
        ("Median latency", charts.latency(rows, palette)),
        ("Trade-offs", _choice(tradeoffs(rows, palette))),
        ("Latency distributions (ECDF)", charts.distributions(rows, palette)),
        ("File sizes", charts.sizes(rows)),
        ("Drift over the steps of a stream", drift(rows)),
        ("Time of a run without a pause", throttle(report.record)),
    )
    return f'<section class="charts">{"".join(drawn(title, plot) for title, plot in plots if plot)}</section>'


def _choice(plots: tuple[Tradeoff, ...]) -> str:
    """The first of the plots, and where there are more, a list to choose another one from."""
    panes = "".join(
        f'<div class="pane"{" hidden" * (number > 0)}>{plot.drawing}</div>' for number, plot in enumerate(plots)
    )
    options = "".join(f"<option>{html.escape(plot.title)}</option>" for plot in plots)
    choice = f'<label class="axes">Axes <select autocomplete="off">{options}</select></label>' if len(plots) > 1 else ""
    note = '<p class="note">The dashed line joins what nothing else beats in both.</p>'
    return f"{choice}{panes}{note}" if plots else ""


def _legend(palette: Palette) -> str:
    """Shape and colour of each engine."""
    entries = (
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true">{svg.mark(8, 8, place, name)}</svg>{html.escape(name)}</li>'
        for place, name in enumerate(palette.engines)
    )
    return f'<ul class="legend">{"".join(entries)}</ul>' if palette.engines else ""


def _compared(report: Report) -> str:
    each = table(matrix_columns(report.matrix), report.matrix, None) if report.matrix else ""
    return f"{sentences('Compared', (*report.comparisons, *report.remarks))}{each}"


def _timings(report: Report) -> str:
    """What `edgedl benchmark` prints, of its mode."""
    if report.record is None or not report.timed:
        return ""
    columns = benchmark_columns(report.record)
    return f"<h2>Timings: {html.escape(MODES[report.record.plan.mode])}</h2>{table(columns, report.timed, None)}"


def _figures(report: Report) -> str:
    """What the target told, and what that rests on."""
    told = [subject for subject in report.record.subjects if subject.figures] if report.record else []
    if not told or report.record is None:
        return ""
    said = (*figure_sentences(report.record), *basis_sentences(report.record))
    return f"<h2>Figures of the target</h2>{table(figure_columns(told), told, None)}{sentences('', said)}"


def _operators(report: Report) -> str:
    """Of each profiled subject the bars, what bounds it, and the whole table on demand."""
    parts = []
    for subject, median in report.profiled:
        assert subject.profile
        bars = operators.drawing(subject.profile)
        told = sentences("", operators.remarks(subject, median))
        whole = table(operators.columns(subject.profile), operators.ordered(subject.profile), None)
        parts.append(drawn(subject.label, f"{bars}{told}{folded('All operators', whole)}"))
    return f'<h2>Operators</h2><section class="charts">{"".join(parts)}</section>' if parts else ""


def _layers(report: Report) -> str:
    """Of each comparison the bars in the order of computation, and the table."""
    parts = []
    for found in report.layers:
        whole = folded("All tensors", table(layers.columns(), found.layers, None), len(found.layers) <= SHORT)
        told = f'<p class="note">{html.escape(layers.headline(found))}</p>'
        parts.append(drawn(f"{found.b} against {found.a}", f"{told}{layers.drawing(found.layers)}{whole}"))
    return f'<h2>Layers</h2><section class="charts">{"".join(parts)}</section>' if parts else ""


def _facts(report: Report) -> str:
    if report.record is None:
        return ""
    told = (
        f"<h2>{html.escape(title)}</h2>{facts(environment_facts(there))}" for title, there in machines(report.record)
    )
    return "".join(told) + sentences("Method", method(report))


def _raw(report: Report) -> str:
    """The documents that the page was made from."""
    record = (
        download("record.json", report.record.to_json(), "Download the raw samples (JSON)") if report.record else ""
    )
    compared = (
        download(f"layers-{number}.json", found.to_json(), f"Download the layers of {found.b} (JSON)")
        for number, found in zip(count(1), report.layers)
    )
    return record + "".join(compared)
