"""This library's side of `exchange`: rows fetched from the ranks that own them, gradients sent
home, Adagrad there.

    cd scripts/benchmarks
    horovodrun -np 2 python -m sides.gmeta_exchange --ids zipf --steps 200 --pin 0
"""

from harness.side import in_order, measure
from harness.workloads import FIRST_VALUE, Workload, random_ids

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad
from gmeta_tf.schema import Categorical, Schema


def make(workload: Workload):
    """The step behind `run(steps)` (see `side.measure`); the loss is the sum of squares of the rows
    this rank looks up.
    """
    schema = Schema(
        "task", "label", [Categorical("id", table="table")], tables={"table": workload.tables[0]}
    )
    embedding = ShardedEmbedding(schema, dim=workload.dim, placement={"table": "sharded"})
    embedding.set_row_optimizer(RowAdagrad(workload.outer_lr))
    for shard in embedding.shards:
        shard.assign(tf.fill(shard.shape, FIRST_VALUE))
    batches = [(tf.constant(ids),) for ids in random_ids(workload, rank=comm.rank())]

    @tf.function
    def step(ids):
        plan = embedding.plan(ids[:, None])
        rows = embedding.fetch(plan)
        looked_up = embedding.lookup.gather(rows, plan.index)  # ([ids, 1, dim],)
        with tf.GradientTape() as tape:
            tape.watch(looked_up)
            loss = tf.reduce_sum(tf.square(looked_up))
        gradients = embedding.lookup.sum_per_row(tape.gradient(loss, looked_up), plan.index, rows)
        home = embedding.summed(embedding.send_home(plan, gradients))
        embedding.update(home, scale=tf.constant(1.0), step=0)
        return loss

    return in_order(step, batches)


if __name__ == "__main__":
    measure(make, description=__doc__, job=comm.session)
