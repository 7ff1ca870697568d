"""Latency and memory, measured so that the figures can be believed; importing this loads numpy and no engine."""

from __future__ import annotations

from edgedl.measure.environment import Environment
from edgedl.measure.harness import measure, steps
from edgedl.measure.inputs import InputChoice, Inputs
from edgedl.measure.plan import Plan, Subject
from edgedl.measure.profile import OperatorCost, Profile, Roof
from edgedl.measure.record import BenchmarkRecord, Failure, Figure, HostParity, Measured, Memory, Round, Start
from edgedl.measure.runner import FeedsOf
from edgedl.measure.statistics import Estimate, Percentile
from edgedl.measure.subjects import describe, subjects_of
from edgedl.measure.summary import Summary, remarks, speedup, summarize, verdict, warnings

__all__ = [
    "BenchmarkRecord", "Environment", "Estimate", "Failure", "FeedsOf", "Figure", "HostParity", "InputChoice", "Inputs",
    "Measured", "Memory", "OperatorCost", "Percentile", "Plan", "Profile", "Roof", "Round", "Start", "Subject", "Summary",
    "describe", "measure", "remarks", "speedup", "steps", "subjects_of", "summarize", "verdict", "warnings",
]  # fmt: skip
