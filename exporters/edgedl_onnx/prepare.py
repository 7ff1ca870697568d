"""What happens to an ONNX file before onnxruntime's quantizers see it."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgedl_onnx.graph import read


def prepared(source: Path, folder: Path) -> Path:
    """The source, every node with a name, after onnxruntime's own graph optimisation; as it is where that stops (it does on some transformers)."""
    named, optimised = folder / "named.onnx", folder / "optimised.onnx"
    model = read(source)
    onnx.save(model, str(named))
    try:
        quant_pre_process(str(named), str(optimised), skip_symbolic_shape=True)
    except Exception as error:
        logging.getLogger(__name__).info("quantizing without graph optimisation: %s", error)
        return named
    return optimised


class quiet:  # noqa: N801
    """onnxruntime's quantizer logs advice on the root logger."""

    def __enter__(self) -> None:
        self._level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._level)
