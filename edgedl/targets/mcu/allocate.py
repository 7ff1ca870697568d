"""The process in which TensorFlow Lite Micro opens a file: `python -I allocate.py FILE ARENA_BYTES`.

It tells its allocations on standard error, and dies of what it cannot open. It is run as a file, so it uses nothing of edgedl's.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(Path(sys.argv[1]).read_bytes(), arena_size=int(sys.argv[2]))
    interpreter.print_allocations()


if __name__ == "__main__":
    main()
