"""One run of litert-torch: a program at fixed lengths becomes a ModelT with the user's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from edgedl.exporter import Program
from edgedl.spec import Array
from edgedl.tracing import converter_tracing
from edgedl_tflite import borders, flatbuffer, names
from edgedl_tflite.decompositions import TABLE
from edgedl_tflite.failure import explain
from edgedl_tflite.locations import Nodes, node_in, watched
from edgedl_tflite.quiet import quiet
from edgedl_tflite.recurrent import marked
from edgedl_tflite.simplify import simplify


def convert(program: Program, inputs: Mapping[str, Array]) -> Any:
    """As `convert_plainly`, in fewer operators; as the converter wrote it where the program rounds to integers itself."""
    model = convert_plainly(program, inputs)
    if not program.quantized:
        simplify(model)
    return model


def convert_plainly(program: Program, inputs: Mapping[str, Array]) -> Any:
    """The ModelT of the program at the shapes of `inputs`, with marks for loops (edgedl_tflite.loops) still in it.

    Unsupported if torch.export or the converter fails.
    """
    with quiet() as chatter:
        try:
            content = _content(program, inputs)
        except Exception as error:
            failure: Exception | None = error
        else:
            failure = None
    if failure is not None:
        raise explain(program, failure, chatter.text, lambda: _failing_node(program, inputs)) from failure
    model = flatbuffer.parse(content)
    names.apply(model, list(inputs), program.outputs)
    if program.quantized:
        borders.to_float(model)
    return model


def located_model(program: Program, inputs: Mapping[str, Array]) -> tuple[Any, Nodes]:
    """The converter's model with tensors named after the nodes of the traced graph, and those nodes.

    Raises what torch.export or the converter raises.
    """
    nodes: Nodes = {}
    return flatbuffer.parse(_content(program, inputs, nodes)), nodes


def _failing_node(program: Program, inputs: Mapping[str, Array]) -> torch.fx.Node | None:
    """The node that a second conversion names when it fails as the first one did."""
    nodes: Nodes = {}
    text = ""
    with quiet() as chatter:
        try:
            _content(program, inputs, nodes)
        except Exception as error:
            text = str(error)
    return node_in(f"{text}\n{chatter.text}", nodes)


def channels_last_inputs(inputs: Mapping[str, Array], channels_last: bool) -> list[int]:
    """Positions of the inputs that are NHWC in the file."""
    return [position for position, array in enumerate(inputs.values()) if channels_last and array.ndim == 4]


def _content(program: Program, inputs: Mapping[str, Array], nodes: Nodes | None = None) -> bytes:
    """The file as litert-torch writes it. nodes: see `watched`."""
    import litert_torch

    module, arguments = marked(program.module), [torch.from_numpy(array) for array in inputs.values()]
    if nhwc := channels_last_inputs(inputs, program.channels_last):
        module = litert_torch.to_channel_last_io(module, args=nhwc)
        arguments = [t.permute(0, 2, 3, 1).contiguous() if i in nhwc else t for i, t in enumerate(arguments)]
    with torch.no_grad(), converter_tracing(TABLE), watched(nodes):
        made = litert_torch.convert(module.eval(), tuple(arguments), quant_config=_integers(program))
    content: bytes = made.model_content()
    return content


def _integers(program: Program) -> Any:
    """What tells the converter to make integer operators of quantize and dequantize; without it they stay beside float ones."""
    if not program.quantized:
        return None
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(get_symmetric_quantization_config()))
