"""Rows that stay and rows that adapt; `test_task_loop.py` has both in whole towers."""

import numpy as np
import pytest
from task_batch import QUERY, SCHEMA, SUPPORT, TASKS, batch, fetched

from gmeta_tf import MLP, InnerLoop, MetaModel
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.occurrence import first_occurrence
from gmeta_tf.meta.task_rows import of_sets


def test_the_first_occurrence_by_hand():
    index = tf.constant([[[5, 2], [2, 5]], [[0, 7], [7, 0]]])
    assert first_occurrence(index).numpy().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0]]


def test_sets_lie_side_by_side():
    support, query = batch()
    first, second = of_sets(tf.concat([support["label"], query["label"]], 1), support)
    np.testing.assert_array_equal(first, support["label"])
    np.testing.assert_array_equal(second, query["label"])


@pytest.mark.parametrize("adapt", ["dense", "all", "item"])
def test_before_a_step_both_kinds_give_the_same_vectors(adapt):
    tf.keras.backend.set_floatx("float64")
    try:
        model = MetaModel(SCHEMA, MLP((3,)), embedding_dim=4, seed=1)
        model.compile("sgd", inner_loop=InnerLoop(1, 0.1, adapt=adapt))
        support, query = batch()
        rows, index = fetched(model, support, query)
        gathered, own = model.embedding.lookup.gather(rows, index), model.task_loop.rows
        assert own.adapt == (adapt != "dense")
        elements = own.elements(gathered, index, support, query)
        elements |= {
            f"{part}_numeric": s["numeric"] for part, s in (("support", support), ("query", query))
        }
        for t in range(TASKS):
            task = tf.nest.map_structure(lambda part, t=t: part[t], elements)
            numeric = tf.concat([support["numeric"], query["numeric"]], 1)
            whole = model.embedding.lookup.combine(gathered, index > 0, numeric)[t]
            for part, places in (("support", slice(SUPPORT)), ("query", slice(SUPPORT, None))):
                found = own.embedded(task, own.first(task), part)
                np.testing.assert_allclose(found, whole[places], rtol=1e-12)
        assert whole.shape[0] == SUPPORT + QUERY
    finally:
        tf.keras.backend.set_floatx("float32")
