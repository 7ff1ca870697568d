"""Latency and energy on devices that are not here, from models fitted to published measurements; loads numpy at most."""

from __future__ import annotations

from edgedl.predict.models import DeviceModel, Power, devices
from edgedl.predict.prediction import Prediction, predict, workload_of

__all__ = ["DeviceModel", "Power", "Prediction", "devices", "predict", "workload_of"]
