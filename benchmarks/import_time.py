"""What `import edgedl` costs above importing numpy and click: `python benchmarks/import_time.py`."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

ROUNDS = 40


def milliseconds(modules: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    for added in ("edgedl", "edgedl.cli, edgedl.runtime"):
        extra = [milliseconds(f"numpy, click, {added}") - milliseconds("numpy, click") for _ in range(ROUNDS)]
        low, high = np.quantile(
            np.median(np.random.default_rng(0).choice(extra, (2000, ROUNDS)), axis=1), (0.025, 0.975)
        )
        print(
            f"import {added}: {np.median(extra):.1f} ms above numpy and click ({low:.1f} to {high:.1f}; goal at most 60 ms)"
        )


if __name__ == "__main__":
    main()
