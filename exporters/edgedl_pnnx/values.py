"""Every tensor that an ncnn network computes, by running it in ncnn."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import ncnn
import numpy as np

from edgedl.errors import EngineFailed
from edgedl.spec import Array, Feeds
from edgedl_pnnx.bundle import Bundle


def as_written(bundle: Bundle) -> Feeds:
    """Zeros at the written shapes, dynamic axes as 1."""
    return {
        port.spec.name: np.zeros([d if isinstance(d, int) else 1 for d in port.spec.shape], port.spec.dtype)
        for port in bundle.inputs
    }


def values(bundle: Bundle, feeds: Feeds, blobs: Iterable[str]) -> Iterator[tuple[str, Array]]:
    """(blob, its values in float32) of one run. EngineFailed if ncnn gives up."""
    net = ncnn.Net()
    net.opt.lightmode, net.opt.num_threads = False, 1
    for name in ("use_fp16_storage", "use_fp16_packed", "use_fp16_arithmetic"):
        setattr(net.opt, name, False)
    with tempfile.TemporaryDirectory(prefix="edgedl-ncnn-") as folder:
        (Path(folder) / "model.param").write_text(bundle.param)
        (Path(folder) / "model.bin").write_bytes(bundle.weights)
        if net.load_param(f"{folder}/model.param") or net.load_model(f"{folder}/model.bin"):
            raise EngineFailed("ncnn does not load the network")
    extractor = net.create_extractor()
    extractor.set_light_mode(False)
    for port in bundle.inputs:
        if port.blob is not None:
            array = np.ascontiguousarray(feeds[port.spec.name])
            narrow = array.astype(np.int32) if array.dtype == np.int64 else array
            extractor.input(port.blob, ncnn.Mat(narrow, batch_index=port.batch).clone())
    for blob in blobs:
        code, found = extractor.extract(blob)
        if code:
            raise EngineFailed(f"ncnn gives up on the tensor {blob} (code {code})")
        yield blob, np.array(found.numpy(batch_index=0) if found.n > 1 else found.numpy())
