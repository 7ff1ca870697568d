"""The worker that passes what it is asked on to a page or to Node: `python -m edgedl.targets.javascript.worker ORDER`.

ORDER is JSON: {"kind": "web" or "node", "packages": folder, "scratch": folder, "throttle": times slower}
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgedl.errors import EngineFailed, InvalidTensor, Unavailable, Unsupported
from edgedl.runtime import accept
from edgedl.spec import DTYPES, Array, Feeds, TensorSpec
from edgedl.targets.javascript import process
from edgedl.targets.javascript.chromium import Chromium
from edgedl.targets.javascript.node import Node
from edgedl.targets.javascript.server import serve as serve_files
from edgedl.worker import Reply, Worker, evict, serve

RUNTIMES = {"onnx": "ort", "tflite": "litert"}
_PACKAGES = {
    ("web", "onnx"): "onnxruntime-web",
    ("web", "tflite"): "@litertjs/core",
    ("node", "onnx"): "onnxruntime-node",
}


class ScriptWorker(Worker):
    """The model is in another process: `remote` starts it, and its memory and processor time are read from /proc."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        super().__init__()
        self.order = order
        self.remote: Chromium | Node | None = None

    def load(self, request: dict[str, Any], _: Feeds) -> Reply:
        """Start the engine, then load the model; the two are told apart in time and in memory."""
        path = Path(request["source"])
        _refuse(request, path.suffix.lstrip("."))
        if request.get("affinity"):
            os.sched_setaffinity(0, request["affinity"])
        evicted = bool(request.get("cold")) and evict(path)
        self.remote = remote = self.started(path)
        self.memory["base"], start = process.reset_peak(remote.pid), time.perf_counter()
        remote.call("engine", format=path.suffix.lstrip("."), threads=request["threads"])
        self.memory["engine"], imported = process.reset_peak(remote.pid), time.perf_counter()
        cpu = process.cpu_seconds(remote.pid)
        specs = remote.call("load")
        seconds = time.perf_counter() - imported
        told = {"engine": self.engine_name(path), "device": "cpu", "evicted": evicted, "load_seconds": seconds}
        told |= {"import_seconds": imported - start, "cpu_seconds": process.cpu_seconds(remote.pid) - cpu}
        self.memory["load"] = process.reset_peak(remote.pid)
        return {**told, **self.sides(specs, path.suffix == ".tflite")}, {}

    def sides(self, specs: Mapping[str, Any], static: bool) -> dict[str, Any]:
        """The inputs and outputs, as fields of TensorSpec. static: a dynamic axis is refused."""
        if static:
            _refuse_dynamic(specs["inputs"])
        found = {side: [_spec(spec) for spec in specs[side]] for side in ("inputs", "outputs")}
        self.inputs = tuple(TensorSpec(spec["name"], tuple(spec["shape"]), spec["dtype"]) for spec in found["inputs"])
        return found

    def started(self, model: Path) -> Chromium | Node:
        packages = Path(self.order["packages"])
        if self.order["kind"] == "node":
            return Node(packages, model)
        browser = Chromium(Path(self.order["scratch"]), self.order["throttle"])
        browser.open(f"{serve_files(packages, model)}/page.html")
        return browser

    def engine_name(self, model: Path) -> str:
        assert self.remote
        name = _PACKAGES[self.order["kind"], model.suffix.lstrip(".")]
        known = json.loads((Path(self.order["packages"]) / "contents.json").read_text())
        return f"{name} {known[name].partition(' ')[0]} in {self.remote.version}"

    def run(self, _: dict[str, Any], feeds: Feeds) -> Reply:
        assert self.remote
        return {}, decoded(self.remote.call("run", feeds=encoded(accept(feeds, self.inputs))))

    def feed(self, request: dict[str, Any], feeds: Feeds) -> Reply:
        sets: list[dict[str, Array]] = [{} for _ in range(request["sets"])]
        for key, values in feeds.items():
            number, _, name = key.partition("/")
            sets[int(number)][name] = values
        assert self.remote
        self.remote.call("feed", sets=[encoded(one) for one in sets])
        return {}, {}

    def measure(self, request: dict[str, Any], _: Feeds) -> Reply:
        """As of edgedl.worker, timed where the model runs; a sample is the mean of `block` runs, and so is all that is told of it.

        resolution: one tick of that clock, in nanoseconds.
        """
        remote = self.remote
        assert remote
        cpu, switches, begun = process.cpu_seconds(remote.pid), process.preemptions(remote.pid), time.perf_counter_ns()
        found = remote.call("measure", runs=request["runs"], seconds=request["seconds"])
        if found["nan"] is not None:
            raise EngineFailed(f"the engine gave NaN in the output {found['nan']!r}")
        block, samples = found["block"], np.array(found["samples"])
        told = {
            "cpu_seconds": max(0.0, process.cpu_seconds(remote.pid) - cpu) / block,
            "preemptions": max(0, process.preemptions(remote.pid) - switches),
            "begun": begun, "ended": begun + max(1, round(1e6 * found["elapsed"] / block)), "megahertz": None, "celsius": None,
            "block": block, "resolution": 1e6 * found["resolution"],
        }  # fmt: skip
        return told, {"wall_ns": np.maximum(np.rint(1e6 * samples), 1).astype(np.int64)}

    def peaks(self, _: dict[str, Any], __: Feeds) -> Reply:
        assert self.remote
        return {**self.memory, "run": process.peak_memory(self.remote.pid)}, {}

    def profile(self, request: dict[str, Any], _: Feeds) -> Reply:
        raise Unsupported("the engines of the web do not tell what their operators take")


def _refuse(request: Mapping[str, Any], fmt: str) -> None:
    """What was asked for and is not there: nothing else is taken in its place."""
    if request["runtime"] not in ("auto", RUNTIMES[fmt]):
        raise Unsupported(f"runtime {request['runtime']!r} is not here: a .{fmt} file runs in {RUNTIMES[fmt]}")
    if request["device"] != "cpu":
        raise Unavailable(f"device {request['device']!r} is not here: edgedl uses WebAssembly on the processor")
    if request.get("options"):
        raise Unsupported(f"option {min(request['options'])!r} is none of the web's engines: leave --option out")


def _refuse_dynamic(inputs: Iterable[Mapping[str, Any]]) -> None:
    """LiteRT for the web compares shapes as they are written, and no tensor has a length of -1."""
    for spec in inputs:
        if any(length < 0 for length in spec["shape"]):
            shape = "x".join(str(max(length, 1)) for length in spec["shape"])
            raise Unsupported(
                f"LiteRT for the web runs no model with a dynamic axis: export it with --shape {spec['name']}={shape}"
            )


def encoded(feeds: Feeds) -> list[dict[str, Any]]:
    """The arrays as bench.mjs takes them."""
    return [
        {"name": name, "dtype": a.dtype.name, "shape": list(a.shape), "data": base64.b64encode(a.tobytes()).decode()}
        for name, a in ((name, np.asarray(array, order="C")) for name, array in feeds.items())
    ]


def decoded(values: Iterable[Mapping[str, Any]]) -> dict[str, Array]:
    """The arrays that bench.mjs gives, by name."""
    return {
        value["name"]: np.frombuffer(base64.b64decode(value["data"]), value["dtype"]).reshape(value["shape"])
        for value in values
    }


def _spec(told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a TensorSpec."""
    if told["dtype"] not in DTYPES:
        raise InvalidTensor(
            f"tensor {told['name']!r} is a {told['dtype']}: edgedl carries tensors of {', '.join(DTYPES)}"
        )
    shape = ["dynamic" if isinstance(d, int) and d < 0 else d for d in told["shape"]]
    return {"name": told["name"], "shape": shape, "dtype": told["dtype"], "quantization": None}


def main() -> None:
    worker = ScriptWorker(json.loads(sys.argv[1]))
    try:
        serve(worker)
    finally:
        if worker.remote:
            worker.remote.close()


if __name__ == "__main__":
    main()
