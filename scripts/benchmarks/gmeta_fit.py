"""This library's side: `MetaModel.fit`, with its metrics and input pipeline.

cd scripts/benchmarks && python -m gmeta_fit --tasks 128 --steps 200
"""

from side import measure
from workloads import Workload, random_batches

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.optimizers import RowSGD
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.towers import MLP
from gmeta_tf.schema import Categorical, Schema

STEPS_PER_EXECUTION = 10


def make(workload: Workload):
    """A model of the workload, behind `run(steps)` (see `side.measure`)."""
    return runner(build_model(workload), workload)


def runner(model: MetaModel, workload: Workload):
    """`run(steps)` as one epoch of `fit`; returns its mean loss."""
    batches = tf.nest.map_structure(lambda *parts: tf.stack(parts), *random_batches(workload))
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread would hold up the end of `fit`; `Reader` does the same
    data = tf.data.Dataset.from_tensor_slices(batches).cache().repeat().with_options(options)
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0).history["loss"][-1]


def build_model(workload: Workload) -> MetaModel:
    """The workload's model, compiled."""
    features = [Categorical(f"field_{i}", table="shared") for i in range(workload.fields)]
    schema = Schema("task", "label", features, tables={"shared": workload.rows})
    model = MetaModel(schema, MLP(workload.hidden), embedding_dim=workload.dim)
    model.compile(
        tf.keras.optimizers.SGD(workload.outer_lr),
        row_optimizer=RowSGD(workload.outer_lr),
        inner_loop=InnerLoop(1, workload.inner_lr, second_order=True, adapt="dense"),
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


if __name__ == "__main__":
    measure(make, description=__doc__)
