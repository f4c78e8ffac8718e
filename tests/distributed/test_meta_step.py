"""What one step sends, for any number of tables; `test_ranks.py` runs this file on 2 and 3
ranks.
"""

from collections import Counter

import numpy as np
import pytest
from many_tables import batch, make

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf


def collectives(step, data):
    """Number of each collective in the graph of a step."""
    graph = tf.function(step, autograph=False).get_concrete_function(data).graph
    return Counter(
        op.type
        for op in graph.get_operations()
        if op.type.startswith("Horovod") and not op.type.endswith("Size")
    )


@pytest.mark.parametrize(
    ("tables", "widths", "replicated", "clip_norm"),
    [(1, (4,), 0, None), (26, (4, 2), 26, None), (26, (4, 2, 6), 7, 1.0)],
)
def test_a_step_makes_three_alltoalls_and_one_allreduce(tables, widths, replicated, clip_norm):
    model = make(tables, widths=widths, replicated=replicated, clip_norm=clip_norm)
    data = batch(model)
    next_ids = model.admission.bits_of(*model.admission.pack(*data, step=0))
    alone, exchanges = comm.size() == 1, replicated < tables
    reduced = (
        "HorovodAllgather" if comm.gathers([tf.zeros([])]) else "HorovodGroupedAllreduce"
    )  # so little is gathered with Gloo
    expected = Counter({reduced: 1 if clip_norm is None else 2, "HorovodAlltoall": 3 * exchanges})
    assert collectives(model.train_step, data) == (Counter() if alone else +expected)
    assert collectives(model.train_step, (*data, next_ids)) == (
        Counter() if alone else +expected
    )  # its own keys were sent a step before
    assert collectives(model.test_step, data) == (
        Counter() if alone else +Counter(HorovodAlltoall=2 * exchanges)
    )
    assert collectives(model.predict_step, data) == (
        Counter() if alone else +Counter(HorovodAlltoall=2 * exchanges)
    )


def test_one_fetch_of_both_sets_equals_two():
    model = make(3, widths=(4, 2))
    support, query = batch(model)

    def read(ids):
        return model.embedding.lookup.gather(
            model.embedding.fetch(plan := model.embedding.plan(ids)), plan.index
        )

    both = read(tf.concat([support["ids"], query["ids"]], 1))
    for fused, one, other in zip(both, read(support["ids"]), read(query["ids"]), strict=True):
        np.testing.assert_array_equal(fused, tf.concat([one, other], 1))


def test_fit_begins_with_rank_0s_dense_weights():
    model = make(2)
    for variable in model.tower.variables:
        variable.assign_add(tf.fill(variable.shape, float(comm.rank())))
    model.fit(tf.data.Dataset.from_tensors(batch(model)), verbose=0)
    for variable in model.tower.variables:
        mean = comm.allreduce_sum([variable], name="dense")[0] / comm.size()
        np.testing.assert_allclose(variable, mean, rtol=1e-6)
