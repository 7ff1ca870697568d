from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
import torch

import edgedl
from edgedl.source_lines import described, user_line, user_line_of

PACKAGES = sysconfig.get_paths()["purelib"]
EDGEDL = Path(edgedl.__file__).parent


def trace(*files: str) -> str:
    return "".join(f'  File "{file}", line {number}, in f\n    code\n' for number, file in enumerate(files, 1))


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (("/home/me/net.py",), "/home/me/net.py:1"),
        (("/home/me/train.py", "/home/me/my net.py"), "/home/me/my net.py:2"),
        (("/home/me/net.py", f"{PACKAGES}/torch/nn/modules/conv.py"), "/home/me/net.py:1"),
        ((f"{PACKAGES}/timm/models/resnet.py", f"{PACKAGES}/torch/nn/modules/conv.py"), f"{PACKAGES}/timm/models/resnet.py:1"),
        (("/home/me/net.py", f"{PACKAGES}/onnxscript/x.py", "/src/exporters/edgedl_onnx/export.py"), "/home/me/net.py:1"),
        (("/home/me/net.py", str(EDGEDL / "program.py")), "/home/me/net.py:1"),
        ((str(EDGEDL / "zoo" / "digits.py"), str(EDGEDL / "program.py")), f"{EDGEDL / 'zoo' / 'digits.py'}:1"),
        ((f"{EDGEDL}_things/net.py",), f"{EDGEDL}_things/net.py:1"),
        (("<frozen importlib._bootstrap>", "<string>"), None),
        ((f"{PACKAGES}/torch/export/__init__.py",), None),
        ((), None),
    ],
)  # fmt: skip
def test_the_innermost_frame_of_the_user(files: tuple[str, ...], line: str | None) -> None:
    assert user_line(trace(*files)) == line


def test_no_trace() -> None:
    assert user_line(None) is None


def test_of_an_exception_raised_inside_torch() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 2)(torch.zeros(3, 3))
    assert (user_line_of(caught.value) or "").startswith(f"{__file__}:")


def test_described_is_one_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        assert described(error).startswith(f"ValueError: first ({__file__}:")
    assert described(KeyError()) == "KeyError: no message"
