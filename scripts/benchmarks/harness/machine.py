"""The machine's speed while a comparison runs: the rate of one large product by NumPy, on two
cores.

    cd scripts/benchmarks && python -m harness.machine
"""

import time

import numpy as np
from harness import side

ROWS, SECONDS = 1024, 0.5


def main():
    """Prints `gigaflops`, the best of several products."""
    side.take_cores(None)
    left = np.random.default_rng(0).standard_normal((ROWS, ROWS), np.float32)
    seconds = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        left @ left
        seconds.append(time.perf_counter() - start)
    side.show({"gigaflops": 2 * ROWS**3 / min(seconds) / 1e9})


if __name__ == "__main__":
    main()
