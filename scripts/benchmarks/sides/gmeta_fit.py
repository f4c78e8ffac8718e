"""This library's side: `MetaModel.fit`, with its metrics and input pipeline.

cd scripts/benchmarks
python -m sides.gmeta_fit --workload small --steps 200
python -m sides.gmeta_fit --data /tmp/small --steps 200     from task files (see task_files)
horovodrun -np 2 python -m sides.gmeta_fit --workload dlrm --ids zipf --steps 100 --pin 0
"""

from harness.side import measure
from harness.workloads import Workload, random_batches

from gmeta_tf import Reader, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import optimizers
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.towers import DLRM, MLP
from gmeta_tf.schema import Categorical, Numeric, Schema

STEPS_PER_EXECUTION = 10


def make(workload: Workload, task_chunk: int | None = None, data: str | None = None):
    """A model of the workload, behind `run(steps)` (see `side.measure`).

    Args:
      workload: the job.
      task_chunk: of `MetaModel.compile`.
      data: prepared folder to read, in one process; None: batches in memory.
    """
    model = compiled(build_model(workload), workload, task_chunk=task_chunk)
    return runner(
        model, files(data, workload) if data else cached(random_batches(workload, rank=comm.rank()))
    )


def cached(batches: list[tuple[dict, dict]]) -> tf.data.Dataset:
    """This rank's batches over and over, from memory."""
    stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)
    return tf.data.Dataset.from_tensor_slices(stacked).cache().repeat()


def files(data: str, workload: Workload) -> tf.data.Dataset:
    """Shuffled batches of prepared data."""
    return Reader(data, "train", global_batch_tasks=workload.tasks).stream()


def runner(model: MetaModel, data: tf.data.Dataset):
    """`run(steps)` as one epoch of `fit`, from the first batch; returns its mean loss."""
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0).history["loss"][-1]


def build_model(workload: Workload) -> MetaModel:
    """The workload's model."""
    if workload.numeric:
        tower = DLRM(workload.dim, bottom=workload.bottom, top=workload.hidden)
    else:
        tower = MLP(workload.hidden)
    return MetaModel(schema_of(workload), tower, embedding_dim=workload.dim)


def schema_of(workload: Workload) -> Schema:
    """The workload's fields and numbers, `field_0` …, `number_0` …, over tables `table_0` …."""
    fields = [
        Categorical(f"field_{field}", table=f"table_{table}")
        for field, table in enumerate(workload.table_of_field)
    ]
    numbers = [Numeric(f"number_{n}") for n in range(workload.numeric)]
    return Schema(
        "task",
        "label",
        [*fields, *numbers],
        tables={f"table_{t}": rows for t, rows in enumerate(workload.tables)},
    )


def compiled(model: MetaModel, workload: Workload, **options) -> MetaModel:
    """The model, ready to train as the workload says; options: of `MetaModel.compile`, in
    addition.
    """
    model.compile(
        tf.keras.optimizers.SGD(workload.outer_lr),
        row_optimizer=getattr(optimizers, workload.row_optimizer)(workload.outer_lr),
        inner_loop=InnerLoop(1, workload.inner_lr, second_order=True, adapt="dense"),
        steps_per_execution=STEPS_PER_EXECUTION,
        **options,
    )
    return model


if __name__ == "__main__":
    measure(make, description=__doc__, job=comm.session)
