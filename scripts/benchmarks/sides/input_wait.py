"""How long a training step waits for its batch of task files.

cd scripts/benchmarks && python -m sides.input_wait --data /tmp/small --steps 200

Between two steps the loop itself takes a while, whatever the input: so much is measured with
batches in memory, and taken off.
"""

from harness import side
from harness.workloads import Workload, random_batches
from sides.gmeta_fit import build_model, cached, compiled, files

from gmeta_tf._tensorflow import tf
from gmeta_tf.metrics.step import PHASES

WARM_UP = 40


def main():
    """Prints the seconds of a step by phase, and the share of waiting."""
    setting = side.parse(measure, description=__doc__)
    side.show(measure(setting.workload, setting.steps, **setting.own))


def measure(
    workload: Workload, steps: int, data: str, task_chunk: int | None = None
) -> dict[str, float]:
    """Trains from task files, and on batches in memory, and splits the time of a step.

    Args:
      workload: the job.
      steps: to time, of each.
      data: prepared folder.
      task_chunk: of `MetaModel.compile`.
    """
    model = compiled(build_model(workload), workload, task_chunk=task_chunk, step_metrics=True)
    of_files, of_memory = (
        phases(model, batches, steps)
        for batches in (files(data, workload), cached(random_batches(workload)))
    )
    waited = max(0.0, of_files["input"] - of_memory["input"])
    seconds = {f"seconds_{phase}": value for phase, value in of_files.items()}
    return seconds | {
        "seconds_between_steps": of_memory["input"],
        "input_wait_share": waited / sum(of_files.values()),
    }


def phases(model, batches: tf.data.Dataset, steps: int) -> dict[str, float]:
    """Mean seconds of a step by phase."""
    model.fit(batches, steps_per_epoch=WARM_UP, verbose=0)
    logs = model.fit(batches, steps_per_epoch=steps, verbose=0).history
    return {phase: float(logs[f"seconds_{phase}"][-1]) for phase in PHASES}


if __name__ == "__main__":
    main()
