"""What a device would take for a model, or why that cannot be said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgedl import registry
from edgedl.artifact import Artifact
from edgedl.errors import Unsupported
from edgedl.measure.energy import Energy
from edgedl.predict.models import DeviceModel, models_of
from edgedl.workload import Workload

BEYOND = 2.0
"""How many times smaller or larger than all networks of the fit a model may be."""
SHARE = 0.10
"""By how much the share of one kind of layer may exceed what the fit has seen."""
_PRECISIONS = {"fp32": "fp32", "w8a8": "int8"}
"""scheme -> precision of the published rows"""


@dataclass(frozen=True)
class Prediction:
    """seconds: of one run at batch 1, with its 95 % interval. energy: of one run, None where no power was published."""

    model: DeviceModel
    seconds: float
    low: float
    high: float
    energy: Energy | None


def workload_of(artifact: Artifact) -> Workload:
    """From the file alone; Unavailable where its exporter is not installed."""
    return registry.exporter(artifact.format).workload(artifact.model_file)


def predict(workload: Workload, device: str, threads: int | None = None, format: str = "") -> Prediction:
    """By the first model of the device that was fitted on work like this one; engines named like the format come first.

    threads: None takes what was published first. UnknownName for the device; Unsupported, with every reason, where the
    work lies outside of what was measured there: nothing is extrapolated.
    """
    reasons = []
    own = sorted(models_of(device), key=lambda model: not model.engine.lower().startswith(format))
    for model in _of_its_precision(own, workload):
        if not (objections := list(_objections(model, workload, threads))):
            return _predicted(model, workload)
        reasons.append(f"{model.settings}: {objections[0]}")
    raise Unsupported(f"{device} cannot be predicted for this model: {'; '.join(reasons)}")


def _of_its_precision(models: list[DeviceModel], workload: Workload) -> list[DeviceModel]:
    """Unsupported where none is; first of all where the work is of a kind that was measured nowhere."""
    if strange := [operation for operation in workload.layers if operation.kind in _STRANGE]:
        what = f"{_STRANGE[strange[0].kind]} ({strange[0].operator})"
        raise Unsupported(f"predictions are fitted to CNNs, this model has {what}: measure it on a device")
    found = [model for model in models if _PRECISIONS.get(workload.scheme) == model.precision]
    if not found:
        known = " and ".join(sorted({model.precision for model in models}))
        raise Unsupported(f"{models[0].device} was measured in {known}, this model is {workload.scheme}")
    return found


_STRANGE = {
    "recurrent": "recurrent layers",
    "attention": "products of two computed tensors",
    "unknown": "operators of unknown cost",
}


def _objections(model: DeviceModel, workload: Workload, threads: int | None) -> Iterator[str]:
    """Why the model knows nothing of work like this, the weightiest first."""
    if threads is not None and model.threads not in (None, threads):
        yield f"measured with {model.threads} threads, asked for {threads}"
    yield from objections(model.shares, model.macs, workload)


def objections(shares: Mapping[str, float], macs: Sequence[float], workload: Workload) -> Iterator[str]:
    """Why a fit to networks of such shares of each kind of layer, and from so few to so many MACs, knows nothing of the work."""
    low, high = macs
    if not low / BEYOND <= workload.macs <= high * BEYOND:
        yield f"fitted on {low / 1e6:.3g} to {high / 1e6:.3g} million MACs, the model has {workload.macs / 1e6:.3g}"
    for kind, share in workload.shares().items():
        most = shares.get(kind, 0.0)
        if share > most + SHARE:
            yield f"{share:.0%} of its {_measure(kind)} are in {kind} layers, at most {most:.0%} in the networks of the fit"


def _measure(kind: str) -> str:
    return "elements" if kind == "nonlinear" else "MACs"


def _predicted(model: DeviceModel, workload: Workload) -> Prediction:
    features = workload.features()
    seconds = math.fsum(coefficient * features[name] for name, coefficient in model.coefficients.items())
    low, high = (seconds * factor for factor in model.interval)
    return Prediction(model, seconds, low, high, _energy(model, seconds, low, high))


def _energy(model: DeviceModel, seconds: float, low: float, high: float) -> Energy | None:
    """Active power x latency: the power of a board is nearly the same for all networks of one engine and precision.

    Both are known to a factor, so their errors are added in logarithms, each side for itself: no energy is below 0.
    """
    if model.power is None:
        return None
    joules = model.power.watts * seconds
    power = math.log1p(model.power.error)
    down, up = (math.exp(math.hypot(math.log(bound / seconds), power)) for bound in (low, high))
    bounds = (joules / down, joules * up)
    source = f"{model.power.watts:.2f} W x latency, {model.power.source}"
    return Energy(joules, "modelled", source, (bounds[1] - bounds[0]) / 2, seconds, bounds=bounds)
