"""Which tables' rows for new values no step has moved."""

import pytest
import tiny_model

from gmeta_tf import Reader
from gmeta_tf.training.train import untrained_note
from gmeta_tf.training.untrained import untrained_tables


@pytest.mark.parametrize(
    ("options", "untrained"),
    [
        ({}, ["user", "item", "shop", "tags"]),
        ({"cold_rate": 1.0, "cold_rates": {"tags": 0.5}}, ["item", "shop"]),
    ],
)
def test_rows_that_only_hidden_ids_train(tiny, options, untrained):
    data = Reader(tiny, "train", global_batch_tasks=8, **options)
    model = tiny_model.make(data)
    model.fit(data.stream(), steps_per_epoch=4, verbose=0)
    assert sorted(untrained_tables(model, data.manifest)) == sorted(untrained)
    note = untrained_note(untrained)
    assert "out of vocabulary of " + ", ".join(untrained) in note
