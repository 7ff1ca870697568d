"""The process in which TensorFlow Lite Micro runs a file once, on zeros: `python -I allocate.py FILE ARENA_BYTES INPUTS`.

It tells its allocations on standard error, and dies of what it cannot open or run. It is run as a file, so it uses nothing of edgedl's.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    import numpy as np
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(Path(sys.argv[1]).read_bytes(), arena_size=int(sys.argv[2]))
    for number in range(int(sys.argv[3])):
        detail = interpreter.get_input_details(number)
        interpreter.set_input(np.zeros(detail["shape"], detail["dtype"]), number)
    interpreter.invoke()
    interpreter.print_allocations()


if __name__ == "__main__":
    main()
