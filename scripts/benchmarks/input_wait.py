"""How long a training step waits for its batch of task files.

cd scripts/benchmarks && python -m input_wait --data /tmp/small --steps 200
"""

import side
from gmeta_fit import build_model, compiled, files
from workloads import Workload

from gmeta_tf.metrics.step import PHASES

WARM_UP = 40


def main():
    """Prints the seconds of a step by phase, and the share of input."""
    setting = side.parse(measure, description=__doc__)
    side.show(measure(setting.workload, setting.steps, **setting.own))


def measure(workload: Workload, steps: int, data: str, task_chunk: int | None = None) -> dict[str, float]:
    """Trains from task files, and splits the time of a step."""
    model = compiled(build_model(workload), workload, task_chunk=task_chunk, step_metrics=True)
    model.fit(files(data, workload), steps_per_epoch=WARM_UP, verbose=0)
    logs = model.fit(files(data, workload), steps_per_epoch=steps, verbose=0).history
    seconds = {f"seconds_{phase}": logs[f"seconds_{phase}"][-1] for phase in PHASES}
    return seconds | {"input_wait_share": seconds["seconds_input"] / sum(seconds.values())}


if __name__ == "__main__":
    main()
