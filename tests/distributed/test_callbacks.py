"""Callbacks that decide by the epoch's logs decide alike on every rank; `test_ranks.py` runs this
file on 2 and 3.
"""

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, Reader, RowAdagrad, comm
from gmeta_tf._tensorflow import tf

rank, size = comm.rank(), comm.size()
LEARNING_RATE = 0.05
EPOCHS = 12


def gathered(values):
    """[size, values] of every rank."""
    here = tf.range(size)[:, None] == rank
    (rows,) = comm.allreduce_sum(
        [tf.where(here, tf.constant([values], tf.float64), 0)], name="test.gathered"
    )
    return rows.numpy()


def test_early_stopping_and_the_learning_rate_go_alike_on_every_rank(tiny, tmp_path):
    own = {"global_batch_tasks": 8, "rank": rank, "size": size, "seed": 3}
    data, validation = Reader(tiny, "train", **own), Reader(tiny, "validation", **own)
    tf.keras.utils.set_random_seed(1 + rank)  # the ranks start from other weights; rank 0's count
    model = MetaModel(data.schema, MLP((8,)), embedding_dim=4)
    model.compile(
        tf.keras.optimizers.Adam(LEARNING_RATE),
        row_optimizer=RowAdagrad(0.5),
        inner_loop=InnerLoop(1, 0.3),
    )
    slower = tf.keras.callbacks.ReduceLROnPlateau("val_logloss", factor=0.5, patience=1)
    stop = tf.keras.callbacks.EarlyStopping("val_logloss", patience=2, restore_best_weights=True)
    log, shards = tf.keras.callbacks.CSVLogger(tmp_path / "log.csv"), []
    keep = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: shards.append(model.embedding.shards[0].numpy())
    )
    history = model.fit(
        data.stream(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=EPOCHS,
        validation_data=validation.dataset(),
        callbacks=[slower, log, keep, stop],
        verbose=0,
    )
    logs = [
        value
        for name in sorted(history.history)
        if name.startswith("val_")
        for value in history.history[name]
    ]
    epochs, rate = len(history.epoch), float(model.optimizer.learning_rate)
    made = gathered([epochs, rate, stop.stopped_epoch, *logs])
    np.testing.assert_array_equal(made, np.repeat(made[:1], size, 0))
    assert (
        0 < stop.stopped_epoch < EPOCHS - 1
    )  # labels are random: the model learns them by heart, and validation worsens
    assert rate < LEARNING_RATE
    np.testing.assert_array_equal(model.embedding.shards[0], shards[stop.best_epoch])
    assert (tmp_path / "log.csv").exists() == (rank == 0)
    alone = gathered(
        [
            float(metric.result())
            for metric in model.measures.adapted
            if metric.name in ("loss", "logloss")
        ]
    )
    assert (
        size == 1 or (alone[1:] != alone[0]).all()
    )  # by its own tasks, no two ranks would see the same


def test_a_callback_that_one_rank_may_not_have_is_refused_on_all(tiny, tmp_path):
    own = {"global_batch_tasks": 8, "rank": rank, "size": size}
    data = Reader(tiny, "train", **own)
    model = MetaModel(data.schema, MLP((8,)), embedding_dim=4)
    model.compile("adam", row_optimizer=RowAdagrad(0.5))
    keeps = [tf.keras.callbacks.BackupAndRestore(tmp_path / "kept")] if rank == 0 else []
    with pytest.raises(ValueError, match="callbacks must keep the rows' slots with the rows"):
        model.fit(data.stream(), steps_per_epoch=1, callbacks=keeps, verbose=0)
