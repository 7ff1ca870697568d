"""`edgedl benchmark --target @FILE`: on every device of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from edgedl.measure import BenchmarkRecord, Plan, Subject
    from edgedl.measure.journal import Journal


def measure_fleet(
    artifacts: tuple[str, ...], options: dict[str, Any], output: Path | None, force: bool
) -> BenchmarkRecord:
    """On every device of the file; what the file says of one counts before --runtime and --threads."""
    from edgedl.cli.output import progress_bar
    from edgedl.cli.planned import plan_of, subjects_of
    from edgedl.measure import InputChoice
    from edgedl.targets.fleet import Fleet, quarantine, read

    devices = []
    for device in read(Path(options["target"][1:])):
        own = {"runtimes": device.runtime and (device.runtime,), "threads": device.threads and (device.threads,)}
        told = {**options, **{name: value for name, value in own.items() if value}}
        devices.append((device, subjects_of(artifacts, told)))
    plan, subjects = plan_of(options), [subject for _, subjects in devices for subject in subjects]
    choice = InputChoice(subjects, options["batch"], options["inputs"], options["shapes"], options["unproven"])
    with progress_bar("Measuring") as progress, _journal(output, subjects, plan, force, options) as journal:
        return Fleet(devices, quarantine(), journal).measure(choice, plan, progress)


def _journal(
    output: Path | None, subjects: list[Subject], plan: Plan, force: bool, options: dict[str, Any]
) -> AbstractContextManager[Journal | None]:
    from contextlib import nullcontext

    from edgedl.measure.journal import kept_in

    if not output:
        return nullcontext()
    described = Path(options["target"][1:]).read_text()
    return kept_in(output.with_name(f"{output.name}.journal"), subjects, plan, force, described)


def refuse_failed_devices(record: BenchmarkRecord) -> None:
    """Of a fleet: after the others were told."""
    from edgedl.errors import GateFailed

    failed = dict.fromkeys(subject.place for subject in record.subjects if subject.failure)
    if failed:
        devices = {subject.place for subject in record.subjects}
        raise GateFailed(f"{len(failed)} of {len(devices)} devices failed: {', '.join(failed)}")
