"""Fitting latencies: seconds = the sum of coefficient x feature, coefficients not negative, relative errors squared.

Devices of one group (engine and precision) share a profile of coefficients, each with a scale of its own; the fit of a
device is drawn towards its scaled profile, which is what keeps a fit to fifteen networks from bending to each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import t as student

from edgedl.workload import Workload

Figures = npt.NDArray[np.float64]
Rows = Mapping[str, float]
"""network -> seconds"""
PULL = 0.1
"""weight of the profile: one relative error of 1 in a coefficient counts as so many in a latency"""


@dataclass(frozen=True)
class Group:
    """rows: device -> its measurements. networks: the workload of each. features: what is fitted. family: of a network.

    refused: whether edgedl would refuse to predict the first of what was fitted to the others.
    """

    rows: Mapping[str, Rows]
    networks: Mapping[str, Workload]
    features: tuple[str, ...]
    family: Callable[[str], str]
    refused: Callable[[Workload, Sequence[Workload]], bool]

    def matrix(self, names: list[str]) -> Figures:
        """Features scaled so that a coefficient is nanoseconds per unit."""
        return np.array([[self.networks[n].features()[f] * 1e-9 for f in self.features] for n in names])


def profile(group: Group, without: set[str]) -> Figures:
    """Coefficients that all devices share up to a factor, by alternating between the two."""
    kept = {device: {n: s for n, s in rows.items() if n not in without} for device, rows in group.rows.items()}
    kept = {device: rows for device, rows in kept.items() if rows}
    x = [group.matrix(list(rows)) for rows in kept.values()]
    y = [np.array(list(rows.values())) for rows in kept.values()]
    scales = [float(np.median(seconds)) for seconds in y]
    for _ in range(15):
        stacked = np.concatenate([s * a / b[:, None] for s, a, b in zip(scales, x, y, strict=True)])
        shared, _ = nnls(stacked, np.ones(len(stacked)))
        scales = [float(np.exp(np.median(np.log(b / (a @ shared))))) for a, b in zip(x, y, strict=True)]
    return np.asarray(shared)


def fit(group: Group, rows: Rows, shared: Figures) -> Figures:
    """Nanoseconds per unit of each feature, for one device."""
    x, y = group.matrix(list(rows)), np.array(list(rows.values()))
    prior = shared * np.exp(np.median(np.log(y / (x @ shared))))
    used = prior > 0
    pull = np.sqrt(PULL) * np.diag(1 / prior[used])
    rows_and_pulls = np.vstack([x[:, used] / y[:, None], pull])
    coefficients = np.zeros(len(prior))
    coefficients[used], _ = nnls(rows_and_pulls, np.concatenate([np.ones(len(y)), np.full(used.sum(), np.sqrt(PULL))]))
    return coefficients


def left_out(group: Group, part: Callable[[str], str], only: Container[str] | None = None) -> dict[str, Figures]:
    """device -> measured / predicted of every network (of `only`), each predicted without the networks of its part.

    What edgedl would refuse then is no prediction. A device without any is left out.
    """
    names = sorted({name for rows in group.rows.values() for name in rows if only is None or name in only})
    ratios: dict[str, list[float]] = defaultdict(list)
    for one in sorted({part(name) for name in names}):
        away = {name for name in names if part(name) == one}
        shared = profile(group, away)
        for device, rows in group.rows.items():
            kept = {n: s for n, s in rows.items() if n not in away}
            works = [group.networks[n] for n in kept]
            tested = {n: s for n, s in rows.items() if n in away and not group.refused(group.networks[n], works)}
            if len(kept) >= 3 and tested:
                predicted = group.matrix(list(tested)) @ fit(group, kept, shared)
                ratios[device] += list(np.array(list(tested.values())) / predicted)
    return {device: np.array(found) for device, found in ratios.items()}


def interval(ratios: Figures) -> tuple[float, float]:
    """The 95 % prediction interval of measured / predicted for one more network: Student's t over the logarithms."""
    logs, count = np.log(ratios), len(ratios)
    half = student.ppf(0.975, count - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / count)
    return float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))


def off(ratios: Figures) -> float:
    """The median relative error of the predictions."""
    return float(np.median(np.abs(1 / ratios - 1))) if len(ratios) else float("nan")
