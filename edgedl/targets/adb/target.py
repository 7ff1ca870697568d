"""The target: the engine's own benchmark program, called once a round, the subjects in turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgedl.artifact import Artifact
from edgedl.errors import EdgedlError, InvalidInput, Unavailable, Unsupported
from edgedl.measure import BenchmarkRecord, Environment, FeedsOf, Figure, Measured, Plan, Profile, Subject, describe
from edgedl.measure.environment import environment, finish, flags_of
from edgedl.measure.harness import Progress
from edgedl.measure.runner import failure_of
from edgedl.measure.statistics import ratio, widened
from edgedl.measure.summary import PROCESS_SPREAD, between, is_faster, is_slower, times
from edgedl.targets.adb.device import Device, possible
from edgedl.targets.adb.tools import FOLDER, Tool, of_format, recognised
from edgedl.targets.adb.transcript import Reading, operators
from edgedl.targets.target import Status, Target, TargetKind, Watch

_LIBRARIES = f"{FOLDER}/lib"
_NOTE = (
    "each round is one call of the benchmark program, which makes random inputs, warms up and gives the mean of its runs; its "
    "outputs are not compared"
)
_FACTS = (
    "getprop ro.product.manufacturer; getprop ro.product.model; getprop ro.soc.model; getprop ro.build.version.release; "
    "uname -srm; nproc; grep MemTotal /proc/meminfo; cat /proc/cpuinfo"
)
_HEAT = "cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null || true"


@dataclass
class _Lane:
    """What was read of one subject so far."""

    subject: Subject
    measured: Measured
    model: str = ""
    readings: list[Reading] = field(default_factory=list)

    @property
    def tool(self) -> Tool:
        return of_format(self.measured.format)

    @property
    def means(self) -> np.ndarray:
        return np.array([reading.mean_ns for reading in self.readings])


class AdbTarget(Target):
    """One device."""

    def __init__(self, device: Device) -> None:
        super().__init__(device.name)
        self.device, self.machine = device, device.name

    def measure(
        self, subjects: Sequence[Subject], feeds_of: FeedsOf, plan: Plan, progress: Progress
    ) -> BenchmarkRecord:
        """Figures of each subject with the interval over its calls; a subject that fails keeps the reason."""
        before, lanes = environment(), [_Lane(s, replace(describe(s), target=self.name)) for s in subjects]
        generator, total = np.random.default_rng(plan.seed), (plan.rounds + 1) * len(lanes)
        if getattr(feeds_of, "asked", False):
            raise Unsupported(f"{self.name} makes its inputs itself: leave --batch and --input out")
        for done, lane in enumerate(lanes, start=1):
            self._try(lane, plan, self._prepare)
            progress(done, total)
        heat = [self._heat(lanes)]
        for number in range(1, plan.rounds + 1):
            for place in generator.permutation(len(lanes)):
                self._try(lanes[place], plan, self._round)
            progress(len(lanes) * (number + 1), total)
        heat.append(self._heat(lanes))
        for lane in lanes if plan.profile else ():
            self._try(lane, plan, self._profile)
        found = tuple(self._told(lane, lanes[0], heat) for lane in lanes)
        return BenchmarkRecord(found, plan, finish(before), no_energy="energy is counted on this machine only")

    def _try(self, lane: _Lane, plan: Plan, step: Callable[[_Lane, Plan], None]) -> None:
        if lane.measured.failure is None:
            try:
                step(lane, plan)
            except EdgedlError as error:
                lane.measured = replace(lane.measured, failure=failure_of(error))

    def _prepare(self, lane: _Lane, plan: Plan) -> None:
        source = lane.subject.source
        if not isinstance(source, Artifact) or source.path.is_dir():
            raise Unsupported(f"{lane.subject.label}: {self.name} takes one .onnx or .tflite file")
        _check(lane, plan)
        if lane.tool.name not in self.device.shell(f"ls {FOLDER} 2>/dev/null || true").split():
            raise Unavailable(f"{self.name} has no {lane.tool.name}: edgedl target setup {self.name} --set binary=PATH")
        lane.model = f"{FOLDER}/models/{source.sha256[:24]}{source.path.suffix}"
        self.device.shell(f"mkdir -p {FOLDER}/models")
        self.device.push(source.path, lane.model)
        lane.measured = replace(lane.measured, engine=lane.tool.name, inputs="random", machine=self._facts())

    def _round(self, lane: _Lane, plan: Plan) -> None:
        lane.readings.append(lane.tool.read(self._run(lane, plan)))

    def _profile(self, lane: _Lane, plan: Plan) -> None:
        """In a call of its own, for it costs time; that it fails is a doubt, and no failure of what was timed."""
        try:
            said = self._run(lane, plan, lane.tool.profiling) if lane.tool.profiling else ""
            costs = operators(said)
            if not costs:
                raise Unsupported(f"{lane.tool.name} told no operators")
            reading = lane.tool.read(said)
            profile = Profile(f"by {lane.tool.name} itself", reading.runs, reading.mean_ns, costs)
            lane.measured = replace(lane.measured, profile=profile)
        except EdgedlError as error:
            lane.measured = replace(lane.measured, doubts=(f"no profile: {error}",))

    def _run(self, lane: _Lane, plan: Plan, *more: str) -> str:
        words = (lane.tool.path, *lane.tool.words(lane.model, plan, lane.subject.threads or 1), *more)
        mask = f"{sum(1 << processor for processor in lane.subject.affinity):x}"
        pinned = ("taskset", mask, *words) if lane.subject.affinity else words
        return self.device.run(pinned, _LIBRARIES, plan.timeout)

    def _told(self, lane: _Lane, first: _Lane, heat: list[float | None]) -> Measured:
        if lane.measured.failure:
            return lane.measured
        warm = (
            f"the hottest zone of {self.name} had {heat[0]:.0f} C before and {heat[1]:.0f} C after"
            if None not in heat
            else ""
        )
        notes = (*_compared(lane, first), _NOTE, *([warm] if warm else []))
        return replace(lane.measured, figures=tuple(_figures(lane.readings)), notes=notes)

    def _facts(self) -> Environment:
        """What Android tells of itself; of a property that is not there the line is empty."""
        command = "; ".join(f'echo "$({part} 2>/dev/null)"' for part in _FACTS.split("; "))
        maker, model, soc, release, kernel, cores, memory, *cpuinfo = [
            *self.device.shell(command).splitlines(),
            *[""] * 8,
        ]
        kib = re.search(r"\d+", memory)
        return Environment(
            cpu=soc or model or kernel, cores=int(cores) if cores.isdigit() else 1, flags=flags_of("\n".join(cpuinfo)),
            memory_bytes=int(kib[0]) * 1024 if kib else None, system=f"Android {release} {kernel}".replace("  ", " "),
            python="none", packages={}, date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            board=f"{maker} {model}".strip() or None,
        )  # fmt: skip

    def _heat(self, lanes: Sequence[_Lane]) -> float | None:
        """Degrees Celsius of the hottest zone that the shell may read."""
        if all(lane.measured.failure for lane in lanes):
            return None
        try:
            said = self.device.shell(_HEAT)
        except EdgedlError:
            return None
        degrees = [int(word) / 1000 for word in said.split() if re.fullmatch(r"\d{4,6}", word)]
        return max((one for one in degrees if one < 200), default=None)


def _check(lane: _Lane, plan: Plan) -> None:
    """Unsupported for what the program would leave out without a word."""
    subject, where = lane.subject, lane.measured.target
    if plan.mode != "latency":
        raise Unsupported(f"{where} measures in the mode latency, not {plan.mode}")
    if subject.runtime not in ("auto", lane.tool.runtime) or subject.device != "cpu":
        raise Unsupported(f"{where} runs .{lane.measured.format} in {lane.tool.engine} on the processor alone")
    if subject.options:
        raise Unsupported(f"{where}: {lane.tool.name} takes no --option {next(iter(subject.options))}")


def _figures(readings: Sequence[Reading]) -> Iterator[Figure]:
    """The mean run with its interval over the calls; of the others the median over the calls, of `fastest` the least."""
    means = np.array([reading.mean_ns for reading in readings])
    mean = ratio(means, np.ones(len(means)))
    yield Figure("mean run", mean.value, "ns", "measured", mean.low, mean.high)
    fastest = [reading.fastest_ns for reading in readings if reading.fastest_ns]
    if fastest:
        yield Figure("fastest run", min(fastest), "ns", "measured")
    yield Figure("first run", float(np.median([reading.first_ns for reading in readings])), "ns", "measured")
    yield Figure("load", float(np.median([reading.load_ns for reading in readings])), "ns", "measured")
    memory = [reading.memory for reading in readings if reading.memory is not None]
    if memory:
        yield Figure(readings[0].memory_is, float(np.median(memory)), "B", "measured")


def _compared(lane: _Lane, first: _Lane) -> tuple[str, ...]:
    """Against the first subject, whose rounds were taken beside these."""
    if lane is first or first.measured.failure or len(lane.readings) != len(first.readings):
        return ()
    gain = widened(ratio(first.means, lane.means), PROCESS_SPREAD)
    label, other = lane.subject.label, first.subject.label
    if is_faster(gain):
        return (f"{label} is {times(gain)} faster than {other} ({between(gain)})",)
    if is_slower(gain):
        loss = widened(ratio(lane.means, first.means), PROCESS_SPREAD)
        return (f"{label} is {times(loss)} slower than {other} ({between(loss)})",)
    return (f"no difference could be seen between {label} and {other} ({between(gain)})",)


class AdbKind(TargetKind):
    """Android devices in developer mode."""

    name = "adb"
    summary = "an Android device, by LiteRT's or ONNX Runtime's own benchmark program"
    example = "adb:emulator-5554"
    settings: ClassVar[Mapping[str, str]] = {
        "binary": "LiteRT's benchmark_model or ONNX Runtime's onnxruntime_perf_test, built for the device",
        "libraries": "folder of .so files that the program needs",
    }

    def open(self, detail: str) -> Target:
        return AdbTarget(Device(detail))

    def status(self) -> Status:
        reason = possible()
        return Status("impossible", reason) if reason else Status("ready")

    def setup(self, detail: str, settings: Mapping[str, str], watch: Watch) -> None:
        """Brings the program, and calls it once to see that it starts there."""
        device = Device(detail)
        if "binary" not in settings:
            raise InvalidInput(f"{device.name} needs --set binary=PATH: {self.settings['binary']}")
        binary = Path(settings["binary"])
        tool, libraries = recognised(binary), _libraries(settings)
        device.shell(f"mkdir -p {_LIBRARIES}")
        for path in libraries:
            watch(f"{device.name}: bringing {path.name}")
            device.push(path, f"{_LIBRARIES}/{path.name}")
        watch(f"{device.name}: bringing {tool.name}")
        device.push(binary, tool.path)
        device.shell(f"chmod 755 {tool.path}")

    def remove(self, detail: str) -> None:
        Device(detail).shell(f"rm -rf {FOLDER}")


def _libraries(settings: Mapping[str, str]) -> list[Path]:
    if "libraries" not in settings:
        return []
    found = sorted(Path(settings["libraries"]).glob("*.so*"))
    if not found:
        raise InvalidInput(f"--set libraries={settings['libraries']}: expected a folder with .so files")
    return found


kind = AdbKind()
