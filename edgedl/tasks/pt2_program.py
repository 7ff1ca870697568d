"""The program in a `.pt2` archive: JSON in which every name, expression and operator is checked before torch sees it.

torch evaluates expressions with sympy, which evaluates Python; it writes names into generated Python code; and it calls whatever
attribute of `torch` an operator names. So names are identifiers, expressions are arithmetic, and operators are tensor operators.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Callable
from typing import Any

import torch

MAX_DEPTH = 100
MAX_POWER = 8
_NAME = re.compile(r"[A-Za-z0-9_.]{0,500}")
_SYMBOL = re.compile(r"[suz][a-z_]{0,12}\d{1,6}")
_FLOAT = re.compile(r"-?[0-9.e+-]{1,40}")
_FUNCTIONS = frozenset(
    {
        "Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Equality", "FloatPow", "FloatTrueDiv", "FloorDiv", "FloorToInt",
        "GreaterThan", "Identity", "IntTrueDiv", "Integer", "LessThan", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Not", "Or",
        "Pow", "PowByNatural", "PythonMod", "Rational", "RoundDecimal", "RoundToInt", "StrictGreaterThan", "StrictLessThan",
        "ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where",
    }
)  # fmt: skip
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
_ASSUMPTIONS = frozenset({"positive", "integer", "nonnegative", "real", "negative", "zero", "finite"})
_WORDS = frozenset({"true", "false", "oo", "int_oo", "True", "False"})
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_PYTHON_OPERATORS = frozenset(
    {
        "add",
        "sub",
        "mul",
        "floordiv",
        "truediv",
        "mod",
        "pow",
        "neg",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "and_",
        "or_",
        "not_",
        "getitem",
        "pos",
        "abs",
    }
)
_SYMBOLIC = frozenset({"sym_int", "sym_float", "sym_ite", "sym_max", "sym_min", "sym_not", "sym_sum", "sym_sqrt"})
_HIGHER_ORDER = frozenset(
    {"cond", "while_loop", "scan", "associative_scan", "wrap_with_set_grad_enabled", "wrap_with_autocast", "map_impl"}
)
_NAMESPACES = frozenset({"aten", "prims", "quantized_decomposed", "torchvision"})
_FORBIDDEN = frozenset({"aten::from_file", "aten::save", "aten::load"})
_SEQUENCES = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
_KEPT_METADATA = ("stack_trace", "nn_module_stack", "torch_fn")


class UnsafeProgramError(Exception):
    """Something that torch would evaluate, import, call or write into code, and that is not plain data."""


def checked_program(program: Any) -> Any:
    """Return the program without what edgedl does not need.

    Args:
        program: The parsed `models/model.json`.

    Returns:
        The same structure, without guards, custom metadata and what nodes say of their origin, but for lines and modules.

    Raises:
        UnsafeProgramError: Where a value is not plain data; the message shows it.
    """
    program["guards_code"] = []
    program["graph_module"]["metadata"] = {}
    return _checked(program, "", 0)


def _checked(value: Any, key: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UnsafeProgramError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return {_name(name): _entry(name, part, depth) for name, part in value.items()}
    if isinstance(value, list):
        return [_checked(part, key, depth + 1) for part in value]
    return _TEXTS.get(key, _name)(value) if isinstance(value, str) else value


def _entry(name: str, part: Any, depth: int) -> Any:
    if name in ("as_custom_obj", "custom_obj", "custom_obj_values", "treespec_namedtuple_fields") and part:
        raise UnsafeProgramError(f"{name} holds an object of its own")
    if name == "metadata":
        return {key: _printable(part[key]) for key in _KEPT_METADATA if key in part}
    return _checked(part, name, depth + 1)


def _name(text: str) -> str:
    """Names of tensors, arguments and modules: torch writes them into Python code."""
    if not _NAME.fullmatch(text) or keyword.iskeyword(text):
        raise UnsafeProgramError(f"{text[:80]!r} is no name")
    return text


def _printable(text: str) -> str:
    if not isinstance(text, str) or len(text) > 100_000:
        raise UnsafeProgramError("metadata that is no text")
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


def _constant(text: str) -> str:
    """A text argument of an operator, such as an equation or a rounding mode; torch writes it as a literal."""
    if len(text) > 1000:
        raise UnsafeProgramError("a text argument of more than 1000 characters")
    return text


def _expression(text: str) -> str:
    """Arithmetic over torch's symbols, as sympy's `srepr` or as Python."""
    try:
        tree = ast.parse(text, mode="eval").body if len(text) < 5000 else None
    except (SyntaxError, MemoryError, RecursionError, ValueError):
        tree = None
    if tree is None or not _is_arithmetic(tree, 0):
        raise UnsafeProgramError(f"{text[:80]!r} is no expression of lengths")
    return text


def _is_arithmetic(node: ast.expr, depth: int) -> bool:
    """Whether the node is a symbol, a number, or arithmetic of such; powers are small constants, for a large one never ends."""
    if depth > MAX_DEPTH:
        return False
    if isinstance(node, ast.Name):
        return bool(_SYMBOL.fullmatch(node.id)) or node.id in _WORDS
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float) and abs(node.value) < 2**63
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _is_arithmetic(node.operand, depth + 1)
    if isinstance(node, ast.Compare):
        return all(_is_arithmetic(part, depth + 1) for part in (node.left, *node.comparators))
    if isinstance(node, ast.BinOp):
        power = isinstance(node.op, ast.Pow) and _is_small(node.right)
        return (power or isinstance(node.op, _ARITHMETIC)) and all(
            _is_arithmetic(part, depth + 1) for part in (node.left, node.right)
        )
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _is_known_call(node.func.id, node, depth)


def _is_known_call(name: str, call: ast.Call, depth: int) -> bool:
    if name in ("Symbol", "Float"):
        return _is_atom(name, call)
    small = name not in _POWERS or (len(call.args) == 2 and _is_small(call.args[1]))
    return name in _FUNCTIONS and small and not call.keywords and all(_is_arithmetic(a, depth + 1) for a in call.args)


def _is_atom(name: str, call: ast.Call) -> bool:
    """`Symbol('s0', positive=True, integer=True)` or `Float('0.5', precision=53)`."""
    pattern = _SYMBOL if name == "Symbol" else _FLOAT
    text = call.args[0].value if len(call.args) == 1 and isinstance(call.args[0], ast.Constant) else None
    known = _ASSUMPTIONS if name == "Symbol" else {"precision"}
    return (
        isinstance(text, str)
        and bool(pattern.fullmatch(text))
        and all(word.arg in known for word in call.keywords)
        and all(isinstance(w.value, ast.Constant) and isinstance(w.value.value, bool | int) for w in call.keywords)
    )


def _is_small(node: ast.expr) -> bool:
    """Whether the node is a whole number of at most MAX_POWER."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Integer"
        and len(node.args) == 1
    ):
        return _is_small(node.args[0])
    if isinstance(node, ast.UnaryOp):
        return _is_small(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= MAX_POWER


def _operator(text: str) -> str:
    family, *path = text.split(".")
    known = (
        (family == "_operator" and len(path) == 1 and path[0] in _PYTHON_OPERATORS)
        or (family == "math" and path in (["ceil"], ["floor"], ["trunc"], ["sqrt"]))
        or (family == "torch" and len(path) == 1 and path[0] in _SYMBOLIC)
        or (family == "torch" and path[:2] == ["ops", "higher_order"] and path[2:3] and path[2] in _HIGHER_ORDER)
        or (family == "torch" and path[:1] == ["ops"] and len(path) == 4 and _is_tensor_operator(*path[1:]))
    )
    if not known:
        raise UnsafeProgramError(f"{text[:80]!r} is no tensor operator that edgedl admits")
    return text


def _is_tensor_operator(namespace: str, name: str, overload: str) -> bool:
    """Whether the dispatcher has it: operators of TorchScript alone read and write files."""
    if namespace not in _NAMESPACES or f"{namespace}::{name}" in _FORBIDDEN:
        return False
    try:
        found = getattr(getattr(getattr(torch.ops, namespace), name), overload)
        torch._C._dispatch_find_schema_or_throw(f"{namespace}::{name}", "" if overload == "default" else overload)
    except (AttributeError, RuntimeError):
        return False
    return isinstance(found, torch._ops.OpOverload)


def _tree(text: str) -> str:
    """How inputs and outputs are nested: tuples, lists and dictionaries with names for keys."""
    if text:
        protocol, tree = json.loads(text)
        if protocol != 1:
            raise UnsafeProgramError(f"a tree of protocol {str(protocol)[:20]}")
        _check_tree(tree, 0)
    return text


def _check_tree(tree: Any, depth: int) -> None:
    keys = json.loads(tree["context"] or "null")
    plain = tree["type"] is None or tree["type"] in _SEQUENCES
    names = keys is None or (
        isinstance(keys, list) and all(isinstance(k, int | str) and _name(str(k)) == str(k) for k in keys)
    )
    if not plain or not names or depth > MAX_DEPTH:
        raise UnsafeProgramError(f"a tree of {str(tree['type'])[:80]}")
    for child in tree["children_spec"]:
        _check_tree(child, depth + 1)


_TEXTS: dict[str, Callable[[str], str]] = {
    "expr_str": _expression,
    "target": _operator,
    "as_operator": _operator,
    "in_spec": _tree,
    "out_spec": _tree,
    "as_string": _constant,
    "torch_version": _constant,
}
