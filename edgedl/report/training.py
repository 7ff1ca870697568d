"""The one-page result of a training, as HTML and as Markdown, beside its record."""

from __future__ import annotations

import html

from edgedl.report import svg, units
from edgedl.report.charts import RIGHT, WIDTH
from edgedl.report.markdown import escape
from edgedl.report.markup import facts, page
from edgedl.report.method import environment_facts
from edgedl.training_record import TrainingRecord

TOP, BOTTOM, LEFT = 34.0, 210.0, 62.0


def pages(record: TrainingRecord) -> dict[str, bytes]:
    """The files by name: NAME.training.json, .html and .md."""
    texts = {"json": record.to_json() + "\n", "html": render_html(record), "md": render_markdown(record)}
    return {f"{record.task}.training.{suffix}": text.encode() for suffix, text in texts.items()}


def sentence(record: TrainingRecord) -> str:
    """`digits: accuracy 0.996 on 450 held-out examples, after 315 steps in 4.1 s on cpu`."""
    score = record.score
    told = f"{score.name} {score.value:.4g}" if score else "trained; the task has no score"
    held_out = f" on {score.samples} held-out examples" if score and score.samples else ""
    return f"{record.task}: {told}{held_out}, {_effort(record)}"


def _effort(record: TrainingRecord) -> str:
    steps = f"{record.steps} steps in " if record.steps else ""
    return f"{steps}{units.duration(record.seconds * 1e9)} on {record.device}"


def rows(record: TrainingRecord) -> list[tuple[str, str]]:
    """(what, value)."""
    return [
        ("Task", record.description or record.task),
        ("Licence of the data", record.licence or "not stated"),
        ("Training", record.fit),
        ("Seed", str(record.seed)),
        ("Parameters", f"{record.parameters:,}"),
        ("Duration", _effort(record) + (f", the last run from step {record.resumed}" if record.resumed else "")),
        ("Engine", _engine(record)),
        ("Loss", _losses(record)),
        ("Energy", energy_words(record)),
        ("CO2", _co2(record)),
    ]


def _engine(record: TrainingRecord) -> str:
    chosen = record.engine
    together = f", {chosen.devices} devices by {chosen.strategy}" if chosen.devices > 1 else ""
    return f"{record.device}, precision {chosen.precision}{together}"


def _losses(record: TrainingRecord) -> str:
    return (
        f"{record.losses[0]:.4g} at first, {record.losses[-1]:.4g} at last" if record.losses else "not told by the fit"
    )


def energy_words(record: TrainingRecord) -> str:
    """With its method, or plainly not measured."""
    if record.energy is None:
        return f"not measured: {record.energy_reason}"
    told = f"{record.energy.joules:.3g} J +- {record.energy.error:.2g} above idle, {record.energy.method} by {record.energy.source}"
    return told + (", the last run alone" if record.resumed else "")


def _co2(record: TrainingRecord) -> str:
    if record.energy is None:
        return "not told: the energy was not measured"
    if record.co2 is None:
        return "not told: it takes --grid, the grams of CO2 per kWh of your electricity"
    return f"{record.co2:.3g} g, from the energy above and the stated {record.grid:g} g/kWh"


def render_markdown(record: TrainingRecord) -> str:
    listed = "\n".join(f"- {name}: {escape(value)}" for name, value in rows(record))
    there = "\n".join(f"- {name}: {escape(value)}" for name, value in environment_facts(record.environment))
    return f"# {escape(record.task)}: training\n\n**{escape(sentence(record))}**\n\n{listed}\n\n## Environment\n\n{there}\n"


def render_html(record: TrainingRecord) -> str:
    drawing = curve(record.losses, record.steps)
    figure = f"<figure><figcaption>Loss</figcaption>{drawing}</figure>" if drawing else ""
    body = f'<h1>{html.escape(record.task)}: training</h1><p class="verdict">{html.escape(sentence(record))}</p>{facts(rows(record))}{figure}'
    there = facts(environment_facts(record.environment))
    return page(f"{record.task}, training", f"{body}<h2>Environment</h2>{there}")


def curve(losses: tuple[float, ...], steps: int) -> str:
    """The loss over the steps; empty where it was not told."""
    if not losses:
        return ""
    across = svg.Scale(0, max(steps, 1), LEFT, RIGHT - 6)
    up = svg.Scale(min(0.0, *losses), max(losses) or 1.0, BOTTOM, TOP)
    body = svg.axis_left(up, LEFT, "loss", lambda value: f"{value:.3g}", RIGHT)
    body += svg.axis_below(across, BOTTOM, "step", lambda value: f"{value:.0f}", TOP)
    width = steps / len(losses)
    body += svg.path([(across((place + 0.5) * width), up(loss)) for place, loss in enumerate(losses)], "w0 curve")
    return svg.figure(WIDTH, BOTTOM + 44, "loss over the steps of the training", body)
