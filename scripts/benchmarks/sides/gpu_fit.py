"""This library's side of `gpu`: `fit` of one size, a line of JSON for each kind of input.

    cd scripts/benchmarks
    python -m sides.gpu_fit --workload small --tasks 1024 --cores 0
    python -m sides.gpu_fit --tasks 1024 --inputs '[cached, files]' --data /tmp/small --cores 0
    python -m sides.gpu_fit --dtype bfloat16 --cores 0
    python -m sides.gpu_fit --inputs '[cached]' --horovod true --cores 0
    python -m sides.gpu_fit --device CPU --tasks 2 --seconds 0.1

  cached     batches in the host's memory
  files      task files, read, shuffled and padded
  resident   batches that lie on the device; the input pipeline only says which comes next

With `--horovod true` a job of one rank calls every collective through Horovod (NCCL, where it was
built with it), as ranks of a larger job do.
"""

import collections
import functools
import os
import time
from typing import Literal

from harness import side, spans
from harness.workloads import Workload, random_batches


def main():
    """Prints a line an input: its rates, or why it failed."""
    setting = side.parse(options, description=__doc__)
    own = options(**setting.own)
    if own["device"] == "CPU":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    began = time.perf_counter()
    from gmeta_tf._tensorflow import tf

    if not tf.config.list_physical_devices(own["device"]):
        raise SystemExit(f"error: device must be there. Received: device={own['device']}.")
    if own["dtype"] == "bfloat16":
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    calls = through_horovod() if own["horovod"] else None
    from sides import gmeta_fit

    model = gmeta_fit.compiled(gmeta_fit.build_model(setting.workload), setting.workload)
    built = round(time.perf_counter() - began, 2)
    for name in own["inputs"]:
        try:
            run = runner(name, model, setting.workload, own["data"])
            rates = spans.timed(run, setting.workload.samples_per_step, seconds=own["seconds"])
            result = rates | {"loss": float(run(spans.UNIT)), "build_seconds": built}
            result |= memory(tf) | ({"collectives": dict(calls)} if calls is not None else {})
        except Exception as error:  # noqa: BLE001  # is reported, and the next input goes on
            result = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
        side.show({"input": name} | result)


def options(
    inputs: list[Literal["cached", "files", "resident"]] = ["cached", "resident"],  # noqa: B006
    dtype: Literal["float32", "bfloat16"] = "float32",
    data: str | None = None,
    device: Literal["GPU", "CPU"] = "GPU",
    seconds: float = 3.0,
    horovod: bool = False,
) -> dict:
    """This side's own options.

    Args:
      inputs: where batches come from, one after another.
      dtype: that the tower computes in.
      data: prepared folder, for files.
      device: to train on.
      seconds: to time each input for, about.
      horovod: call collectives through Horovod.
    """
    return {
        "inputs": inputs,
        "dtype": dtype,
        "data": data,
        "device": device,
        "seconds": seconds,
        "horovod": horovod,
    }


def runner(name: str, model, workload: Workload, data: str | None):
    """`run(steps)` with one kind of input; returns the mean loss."""
    from sides import gmeta_fit

    if name == "files":
        return gmeta_fit.runner(model, gmeta_fit.files(data, workload))
    batches = random_batches(workload)
    if name == "cached":
        return gmeta_fit.runner(model, gmeta_fit.cached(batches))
    return resident(model, batches)


def resident(model, batches):
    """`run(steps)` over packed batches on the device, of which the input pipeline yields the
    numbers.
    """
    from gmeta_tf._tensorflow import tf

    tensors = tf.nest.map_structure(tf.constant, batches)
    packed = [model.admission.pack(*batch, step=0) for batch in tensors]
    sets = [tf.identity(tf.stack(of_batches)) for of_batches in zip(*packed, strict=True)]
    step = model.train_step

    def train_step(number):
        return step(tuple(of_set[number % len(batches)] for of_set in sets))

    model.train_step, model.train_function = train_step, None
    numbers = tf.data.Dataset.range(10**12)

    def run(steps):
        fitted = tf.keras.Model.fit(model, numbers, steps_per_epoch=steps, verbose=0)
        return fitted.history["loss"][-1]

    return run


def memory(tf) -> dict[str, int]:
    """MiB of the GPU's memory that were in use at most, if there is one."""
    if not tf.config.list_physical_devices("GPU"):
        return {}
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return {"peak_mib": round(peak / 2**20)}


class _Alone(int):
    """1, but not equal to 1, so that what skips the exchange in a job of one rank does not."""

    def __eq__(self, other):
        return False

    __hash__ = int.__hash__


def through_horovod() -> collections.Counter:
    """Has a job of one rank go through Horovod; counts the collectives that are traced."""
    from gmeta_tf import comm
    from gmeta_tf.job import launch

    calls = collections.Counter()

    @functools.cache
    def init():
        launch.prepare_horovod()
        import horovod.tensorflow as horovod

        horovod.init()
        launch.take_devices(0, 1)
        comm.watchdog.start(0, 1)
        for name in ("alltoall", "allgather", "grouped_allreduce", "allreduce"):
            setattr(horovod, name, counted(name, getattr(horovod, name), calls))
        return horovod

    comm.init, comm.size = init, lambda: _Alone(1)
    init()
    return calls


def counted(name, function, calls):
    """The function, whose calls are counted."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        calls[name] += 1
        return function(*args, **kwargs)

    return call


if __name__ == "__main__":
    main()
