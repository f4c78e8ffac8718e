"""Counts the bytes that training moves between ranks, and works out how many it has to.

    cd scripts/benchmarks
    horovodrun -np 2 python -m sides.wire_bytes --workload dlrm --ids zipf --steps 200 --pin 0

Bytes are counted where the library hands tensors to its collectives, only what is for other ranks;
an all-reduce of b bytes sends 2 b (N - 1) / N from each of N ranks. The difference between a long
and a short `fit` leaves out what an epoch exchanges but a step does not. All numbers are bytes a
step, over all ranks.
"""

import pathlib

import numpy as np
from harness import side
from harness.workloads import Workload, random_batches
from sides.gmeta_fit import build_model, cached, compiled, runner

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf

SHORT = 40  # steps


class Wire:
    """What this rank hands to `gmeta_tf.job.comm` for other ranks, counted in the graph from
    here on.
    """

    def __init__(self):
        self.bytes = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._alltoall, self.allreduce_sum = comm.alltoall, comm.allreduce_sum
        comm.alltoall, comm.allreduce_sum = self._counted_alltoall, self._counted_allreduce_sum

    def _counted_alltoall(self, tensor, splits, *, name):
        others = tf.reduce_sum(splits) - splits[comm.rank()]
        self._add(
            tf.cast(others, tf.float64)
            * (np.prod(tensor.shape[1:], dtype=float) * tensor.dtype.size)
        )
        return self._alltoall(tensor, splits, name=name)

    def _counted_allreduce_sum(self, tensors, *, name):
        self._add(comm.allreduce_bytes(list(map(tf.convert_to_tensor, tensors))))
        return self.allreduce_sum(tensors, name=name)

    def _add(self, count):
        self.bytes.assign_add(count)


def main():
    """Trains and prints the counts."""
    setting = side.parse(count, description=__doc__)
    with comm.session():
        side.show(count(setting.workload, steps=setting.steps))


def count(workload: Workload, steps: int) -> dict[str, float]:
    """Bytes a step, over all ranks: in theory, as handed to the collectives, and as the loopback
    interface saw them.
    """
    wire = Wire()
    model = compiled(build_model(workload), workload)
    run = runner(model, cached(random_batches(workload, rank=comm.rank())))
    run(SHORT)
    marks = [mark(wire)]
    for length in (SHORT, SHORT + steps):
        run(length)
        marks.append(mark(wire))
    handed, loopback = (np.diff(marks, 2, axis=0)[0] / steps).tolist()
    (handed,) = wire.allreduce_sum([tf.constant(handed, tf.float64)], name="handed")
    return {"theory": theory(model, workload), "handed": float(handed), "loopback": loopback}


def mark(wire: Wire) -> tuple[float, int]:
    """Bytes that this rank handed over, and bytes of all through the loopback interface,
    until now.
    """
    lines = pathlib.Path("/proc/net/dev").read_text().splitlines()
    return float(wire.bytes), next(
        int(line.split()[1]) for line in lines if line.split()[0] == "lo:"
    )


def theory(model, workload: Workload) -> float:
    """Bytes a step: (remote distinct ids) × (id + 2 rows), dense gradients with the count of tasks,
    replicated gradients with touches.
    """
    size, stacks = comm.size(), model.embedding.stacks
    dense = 1 + sum(variable.shape.num_elements() for variable in model.tower.trainable_variables)
    replicated = sum(stack.rows * (stack.dim + 1) for stack in stacks if stack.replicated)
    ring = 2 * (size - 1) / size * size
    total = 4.0 * ring * (dense + replicated)
    of_id = model.embedding.key_dtype.size + 2 * 4 * workload.dim
    for rank in range(size):
        batches = random_batches(workload, rank=rank)
        total += of_id * np.mean(
            [remote_ids(model, workload, batch, rank=rank) for batch in batches]
        )
    return total


def remote_ids(model, workload: Workload, batch, *, rank: int) -> int:
    """Distinct ids of a batch, of sharded tables, whose rows other ranks own."""
    ids = np.concatenate([part["ids"] for part in batch], 1)  # [tasks, samples, fields]
    count = 0
    for stack in model.embedding.stacks:
        for table in [] if stack.replicated else stack.tables:
            fields = [
                field
                for field, number in enumerate(workload.table_of_field)
                if f"table_{number}" == table.name
            ]
            distinct = np.unique(ids[..., fields])
            count += np.count_nonzero((stack.offset(table.name) + distinct) % comm.size() != rank)
    return count


if __name__ == "__main__":
    main()
