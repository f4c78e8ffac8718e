"""Running ahead: batches know the next one's ids, and training with it is training without."""

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, Reader, RowAdagrad
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.run_ahead import ids_of, with_next_ids

BATCH = 8


def make(data):
    tf.keras.utils.set_random_seed(2)
    model = MetaModel(
        data.schema, MLP((6,)), embedding_dim=4, placement={"item": "sharded", "user": "sharded"}
    )
    model.compile("adam", row_optimizer=RowAdagrad(0.1), inner_loop=InnerLoop(1, 0.5, adapt="all"))
    return model


def weights(model):
    return [
        v.numpy()
        for v in [
            *model.tower.variables,
            *model.embedding.shards,
            *(s for slots in model.embedding.slots for s in slots),
        ]
    ]


def test_each_batch_knows_the_ids_of_the_next(tiny):
    batches = Reader(tiny, "train", global_batch_tasks=BATCH).dataset()
    ahead = with_next_ids(batches)
    assert ahead.cardinality() == batches.cardinality()
    assert ahead.element_spec[:2] == batches.element_spec
    plain, pairs = list(batches), list(ahead)
    for k, (support, query, ids) in enumerate(pairs):
        tf.nest.map_structure(np.testing.assert_array_equal, (support, query), plain[k])
        assert (
            np.array_equal(ids, ids_of(*plain[k + 1])) if k + 1 < len(plain) else ids.shape[0] == 0
        )


def test_padding_has_no_id():
    part = {"ids": tf.constant([[[3], [4]]]), "weight": tf.constant([[1.0, 0.0]])}
    assert ids_of(part, part).numpy().tolist() == [[[3], [-1], [3], [-1]]]


@pytest.mark.parametrize("finite", [True, False])
def test_training_ahead_is_training_without(tiny, finite):
    """Over epochs, with validation between them and after an early stop, on data that ends and on
    data that does not.
    """
    data, validation = (
        Reader(tiny, "train", global_batch_tasks=BATCH),
        Reader(tiny, "validation", global_batch_tasks=BATCH),
    )
    ahead, direct = make(data), make(data)
    batches = data.dataset() if finite else data.stream()
    steps = data.steps_per_epoch
    per_epoch = {} if finite else {"steps_per_epoch": steps}
    ahead.fit(batches, epochs=2, validation_data=validation.dataset(), verbose=0, **per_epoch)
    stop = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(ahead, "stop_training", batch == 1)
    )
    ahead.fit(batches, verbose=0, callbacks=[stop], **per_epoch)
    step = tf.function(direct.train_step)
    stream = list(batches.take(2 * steps)) if not finite else [*batches, *batches]
    for batch in [*stream, *stream[:2]]:
        step(batch)
    for one, other in zip(weights(ahead), weights(direct), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_batches_wait_on_the_gpu_where_there_is_one(tiny, monkeypatch):
    devices = []
    monkeypatch.setattr(
        tf.config, "get_visible_devices", lambda kind: ["a GPU"] if kind == "GPU" else []
    )
    monkeypatch.setattr(
        tf.data.experimental,
        "prefetch_to_device",
        lambda device, _: lambda dataset: devices.append(device) or dataset,
    )
    assert (
        with_next_ids(Reader(tiny, "train", global_batch_tasks=BATCH).stream())
        .options()
        .autotune.enabled
        is False
    )
    assert devices == ["/GPU:0"]
