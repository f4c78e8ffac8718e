"""How a program that was only just compiled is timed: a first call, then spans of about as many
seconds each.
"""

import statistics
import time
from collections.abc import Callable

SPANS, UNIT = 3, 10  # steps are a multiple of UNIT, which `fit` takes at a time


def timed(run: Callable, samples_per_step: int, *, seconds: float) -> dict:
    """Rates of `run(steps)`, which trains and waits.

    Args:
      run: trains for so many steps.
      samples_per_step: support and query samples of all tasks.
      seconds: of all spans together, about.

    Returns:
      `samples_per_second` of each span, `step_ms` of the median one, and `first_seconds` of the
      first `UNIT` steps, in which all is traced and compiled.
    """
    first_seconds = _seconds(run, UNIT)
    run(UNIT)
    steps, taken = UNIT, _seconds(run, UNIT)
    while taken < seconds / SPANS / 2:
        steps = max(2 * steps, int(steps * min(10, seconds / SPANS / taken)) // UNIT * UNIT)
        taken = _seconds(run, steps)
    spans = [taken, *(_seconds(run, steps) for _ in range(SPANS - 1))]
    return {
        "samples_per_second": [round(steps * samples_per_step / span) for span in spans],
        "step_ms": round(1e3 * statistics.median(spans) / steps, 4),
        "first_seconds": round(first_seconds, 2),
    }


def _seconds(run, steps):
    began = time.perf_counter()
    run(steps)
    return time.perf_counter() - began
