"""Running ahead: batches know the next one's ids, and training with it is training without."""

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, Reader, RowAdagrad
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.feed import fed
from gmeta_tf.models.run_ahead import with_next_ids

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
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    admission = make(data).admission
    batches = fed(data.dataset(), admission)
    ahead = with_next_ids(batches, admission)
    assert ahead.cardinality() == batches.cardinality()
    assert ahead.element_spec[:2] == batches.element_spec
    plain, pairs = list(batches), list(ahead)
    for k, (support, query, bits) in enumerate(pairs):
        for found, own in zip((support, query), plain[k], strict=True):
            np.testing.assert_array_equal(
                admission.unpack(found)["ids"], admission.unpack(own)["ids"]
            )
        if k + 1 < len(plain):
            following = [admission.unpack(part)["ids"] for part in plain[k + 1]]
            np.testing.assert_array_equal(admission.ids(bits), tf.concat(following, 1))
        else:
            assert bits.shape[0] == 0


def test_each_batch_of_one_rank_brings_its_plan(tiny):
    data = Reader(tiny, "train", global_batch_tasks=BATCH)
    model = make(data)
    for support, query, plan in model._fed(data.dataset(), then=model._planned_ahead):
        direct = model.embedding.plan(model.admission.ids(model.admission.bits_of(support, query)))
        for one, other in zip(tf.nest.flatten(plan), tf.nest.flatten(direct), strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(np.unique(plan.local_rows[0])) == len(plan.local_rows[0]) > BATCH


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
    step = tf.function(direct.train_step, autograph=False)
    stream = list(batches.take(2 * steps)) if not finite else [*batches, *batches]
    for batch in [*stream, *stream[:2]]:
        step(batch)
    for one, other in zip(weights(ahead), weights(direct), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
