"""torch.export and the dynamo exporter: one self-contained file with every declared axis dynamic."""

from __future__ import annotations

import contextlib
import functools
import re
from pathlib import Path

import onnx
import torch
from onnx_ir.passes.common import NameFixPass

from edgedl.errors import EdgedlError, Unsupported
from edgedl.exporter import Program, unused_name
from edgedl.silence import silent
from edgedl.source_lines import user_line, user_line_of
from edgedl.tracing import first_line, innermost, trace, why_untraceable
from edgedl_onnx import integers
from edgedl_onnx.recurrent import NAME, with_operators

OPSET = 20
"""Everything the exporter emits has kernels in every ONNX Runtime since 1.17 at this opset."""


def export(program: Program, path: Path) -> None:
    """Write `program` to `path`; Unsupported names the operator or axis and the user's line."""
    with silent():
        exported = _trace(program)
        written = _translate(exported, program)
    if program.channels_last:
        _take_channels_last(written, program)
    _name_recurrent(written)
    _strip(written)
    if program.quantized:
        integers.store(written)
    _check_axes(written, program)
    _name_axes(written, program)
    onnx.save(written, str(path))


def _trace(program: Program) -> torch.export.ExportedProgram:
    try:
        return trace(with_operators(program.module), program)
    except EdgedlError:
        raise
    except Exception as error:
        what, way_round = why_untraceable(error)
        raise Unsupported(
            f"{program.name} cannot be exported{_at(user_line_of(error))}: {what}; {way_round}"
        ) from error


def _translate(exported: torch.export.ExportedProgram, program: Program) -> onnx.ModelProto:
    _operators_are_read_once()
    try:
        with torch.no_grad():  # attention is decomposed as it was traced
            result = torch.onnx.export(
                exported, dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(program.inputs), output_names=list(program.outputs),
            )  # fmt: skip
    except Exception as error:
        raise Unsupported(_missing_operator(error, exported, program)) from error
    assert result is not None
    NameFixPass()(result.model)  # an input called `relu` must not meet the node of that name
    return result.model_proto


@functools.cache
def _operators_are_read_once() -> None:
    """torch asks onnxscript at each export for its operators, which reads the source of each anew: half of a small network's time."""
    with contextlib.suppress(ImportError, AttributeError):  # another release of torch may do without
        from torch.onnx._internal._lazy_import import onnxscript_apis  # type: ignore[attr-defined]

        onnxscript_apis.get_torchlib_ops = functools.cache(onnxscript_apis.get_torchlib_ops)


def _missing_operator(error: Exception, exported: torch.export.ExportedProgram, program: Program) -> str:
    failing = re.search(r"translating node %(\w+) .*?target=torch\.ops\.([\w.]+)", str(error), re.DOTALL)
    if not failing:
        return (
            f"{program.name} cannot be written as ONNX{_at(user_line_of(error))}: {first_line(str(innermost(error)))}"
        )
    node = _node(failing[1], failing[2], exported)
    where = _at(user_line(node.meta.get("stack_trace"))) if node else ""
    operator = str(node.target) if node else failing[2]
    return f"ONNX has no translation of the operator {operator} in {program.name}{where}: write it with other operators"


def _node(name: str, target: str, exported: torch.export.ExportedProgram) -> torch.fx.Node | None:
    """The node of that name after decomposition, else the first before it whose operator is called so, `aten.special_zeta` for `prims.zeta`."""
    decomposed = next((node for node in exported.run_decompositions().graph.nodes if node.name == name), None)
    operator = target.split(".")[1]
    return decomposed or next((node for node in exported.graph.nodes if operator in str(node.target)), None)


def _at(line: str | None) -> str:
    return f" ({line})" if line else ""


def _check_axes(model: onnx.ModelProto, program: Program) -> None:
    """Exporters fix dynamic axes without a word; this reads what was written."""
    for value in model.graph.input:
        for number, axis in program.dynamic_axes.get(value.name, {}).items():
            dim = value.type.tensor_type.shape.dim[_written_axis(program, value, number)]
            if dim.HasField("dim_value"):
                raise Unsupported(
                    f"the exporter fixed axis {number} ({axis.name}) of {value.name!r} to {dim.dim_value}: export it without --dynamic"
                )


def _name_axes(model: onnx.ModelProto, program: Program) -> None:
    """The axes get the names that the user gave, in place of torch's symbols; so do expressions of them."""
    names = {}
    for value in model.graph.input:
        for number, axis in program.dynamic_axes.get(value.name, {}).items():
            dim = value.type.tensor_type.shape.dim[_written_axis(program, value, number)]
            names[dim.dim_param] = axis.name
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dim.dim_param)


def _name_recurrent(model: onnx.ModelProto) -> None:
    """Recurrent layers bear the user's names, with a number behind that of one that is called again."""
    taken = {node.name for node in model.graph.node}
    for node in model.graph.node:
        for wanted in (entry.value for entry in node.metadata_props if entry.key == NAME):
            node.name = unused_name(wanted, taken)
            taken.add(node.name)


def _strip(model: onnx.ModelProto) -> None:
    """Take out what only the exporting machine needs: source paths, graph annotations, inferred shapes."""
    graph = model.graph
    del graph.value_info[:], model.metadata_props[:], graph.metadata_props[:]
    for thing in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""


def _written_axis(program: Program, value: onnx.ValueInfoProto, number: int) -> int:
    if not program.channels_last or len(value.type.tensor_type.shape.dim) != 4:
        return number
    return (0, 3, 1, 2)[number]


def _take_channels_last(model: onnx.ModelProto, program: Program) -> None:
    """Inputs of rank 4 become NHWC, with a Transpose to what the graph expects."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) != 4:
            continue
        inner = f"{value.name}_nchw"
        for node in model.graph.node:
            node.input[:] = [inner if name == value.name else name for name in node.input]
        model.graph.node.insert(0, onnx.helper.make_node("Transpose", [value.name], [inner], perm=[0, 3, 1, 2]))
        nchw = [onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in dims]
        for target, origin in enumerate((0, 2, 3, 1)):
            dims[target].CopyFrom(nchw[origin])
