"""The steps of a meta-model: what moves, what does not, what is measured."""

import numpy as np
from tiny_model import BATCH, make

from gmeta_tf import Reader, RowSGD
from gmeta_tf._tensorflow import tf


def test_nothing_is_traced_after_the_first_epoch(tiny):
    data, validation = (
        Reader(tiny, "train", global_batch_tasks=BATCH),
        Reader(tiny, "validation", global_batch_tasks=BATCH),
    )
    model, traces = make(data, optimizer="adam"), []
    fetch = model.embedding.fetch
    model.embedding.fetch = lambda plan: traces.append(1) or fetch(plan)
    model.fit(
        data.stream(), steps_per_epoch=2, epochs=3, validation_data=validation.dataset(), verbose=0
    )
    assert len(traces) == 2  # one of training, one of validation


def test_step_metrics_are_logged(tiny):
    data, validation = (
        Reader(tiny, "train", global_batch_tasks=BATCH),
        Reader(tiny, "validation", global_batch_tasks=BATCH),
    )
    model = make(data, optimizer="adam", step_metrics=True)
    logs = model.fit(
        data.stream(), steps_per_epoch=3, epochs=2, validation_data=validation.dataset(), verbose=0
    ).history
    seconds = [f"seconds_{phase}" for phase in ("input", "exchange", "compute", "update")]
    assert set(logs) - {name for name in logs if name.startswith("val_")} == {
        "loss",
        "auc",
        "bytes_sent",
        "padding_share",
        *seconds,
    }
    assert all(0 <= logs[name][1] < 10 for name in seconds)
    assert logs["seconds_compute"][1] > 0
    assert logs["bytes_sent"] == [0, 0]  # a job of one rank


def test_clipping_bounds_the_norm_of_the_whole_gradient(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    batch = next(iter(data.stream()))

    def moved(clip_norm):
        model = make(
            data,
            optimizer=tf.keras.optimizers.SGD(1.0),
            row_optimizer=RowSGD(1.0),
            clip_norm=clip_norm,
        )

        def weights():
            return np.concatenate(
                [
                    v.numpy().ravel()
                    for v in [*model.tower.trainable_variables, *model.embedding.shards]
                ]
            )

        before = weights()
        model.train_step(batch)
        return weights() - before

    free = moved(None)
    norm = np.linalg.norm(free)
    np.testing.assert_allclose(moved(norm / 3), free / 3, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(moved(norm * 3), free, rtol=1e-3, atol=1e-6)


def test_a_step_of_empty_tasks_changes_nothing(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data, optimizer=tf.keras.optimizers.Adam(0.1))
    full = next(iter(data.stream()))
    model.train_step(full)  # Adam has momentum now
    before = [v.numpy() for v in [*model.tower.variables, *model.embedding.shards]]
    for empty in (0, 1):
        batch = [dict(part) for part in full]
        batch[1]["weight"] = tf.zeros_like(batch[1]["weight"])
        if empty:
            batch = [
                part | {"ids": tf.fill(part["ids"].shape, tf.constant(-1, tf.int64))}
                for part in batch
            ]
        model.train_step(tuple(batch))
    for one, other in zip(
        before, [v.numpy() for v in [*model.tower.variables, *model.embedding.shards]], strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_samples_of_weight_0_are_padding_whatever_they_hold(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    support, query = next(iter(data.stream()))
    query = query | {
        "weight": tf.concat([query["weight"][:, :1], tf.zeros_like(query["weight"][:, 1:])], 1)
    }
    shards = []
    for fill in (0, 10**6):  # the second lies outside every table
        ids = tf.where(query["weight"][..., None] > 0, query["ids"], tf.constant(fill, tf.int64))
        model = make(data, optimizer="sgd")
        model.train_step((support, query | {"ids": ids}))
        shards.append(model.embedding.shards[0].numpy())
    np.testing.assert_array_equal(*shards)
