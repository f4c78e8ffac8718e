"""Adapting to one new task; `distributed/test_adapt.py` has several ranks."""

import numpy as np
import pytest
from tiny_model import BATCH, make

from gmeta_tf import InnerLoop, MetaModel, Reader
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import MLP
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema


def columns(samples, task, schema):
    """The real samples of one task of a batch, unpacked."""
    there = samples["weight"][task].numpy() > 0
    ids, numeric = samples["ids"][task].numpy()[there], samples["numeric"][task].numpy()[there]
    made, place = {"click": samples["label"][task].numpy()[there]}, 0
    for feature in schema.id_features:
        slots = ids[:, place : place + feature.slots]
        made[feature.name] = (
            slots[:, 0]
            if isinstance(feature, Categorical)
            else [[i for i in row if i >= 0] for row in slots]
        )
        place += feature.slots
    return made | {feature.name: numeric[:, i] for i, feature in enumerate(schema.numeric_features)}


def test_one_adapted_task_scores_as_in_a_batch(tiny):
    data = Reader(tiny, "test", global_batch_tasks=BATCH)
    model = make(data, optimizer="adam")
    support, query = next(iter(data.dataset()))
    logits = model.predict(data.dataset().take(1), verbose=0)
    for task in range(2):
        adapted = model.adapt(columns(support, task, data.schema))
        there = query["weight"][task].numpy() > 0
        asked = columns(query, task, data.schema)
        np.testing.assert_allclose(
            adapted.predict(asked), logits[task][there], rtol=1e-4, atol=1e-6
        )
    model.adapt_by(InnerLoop(1, 0.3, adapt="head"))  # what is adapted stays so
    np.testing.assert_allclose(adapted.predict(asked), logits[task][there], rtol=1e-4, atol=1e-6)
    model.optimizer.iterations.assign_add(1)
    with pytest.raises(
        ValueError,
        match=r"^An adapted task must be of the model as it is. Received: a model in step 1, adapte",
    ):
        adapted.predict(asked)


def test_a_new_task_must_have_labels_to_adapt_to(tiny):
    data = Reader(tiny, "test", global_batch_tasks=BATCH)
    model = make(data, optimizer="sgd")
    support = columns(next(iter(data.dataset()))[0], 0, data.schema)
    unlabelled = {name: values for name, values in support.items() if name != "click"}
    for bad in (unlabelled, support | {"click": np.full_like(support["click"], np.nan)}):
        with pytest.raises(
            ValueError, match=r"^support must have a finite 'click' for every sample. Received: "
        ):
            model.adapt(bad)
    with pytest.raises(
        ValueError,
        match=r"^'click' must lie in \[0, 1\] for the loss. Received: .*5.* Give clicks.",
    ):
        model.adapt(support | {"click": np.full_like(support["click"], 5)})


@pytest.mark.parametrize("adapt", ["dense", "all"])
def test_weights_of_ids_reach_the_tower(adapt):
    """A weight of 2 counts as the id twice, in support and query, whether rows adapt or not."""

    def features(weights):
        return (
            Categorical("item"),
            MultiHot("tags", 3, combiner="sum", weights=weights),
            Numeric("price"),
        )

    plain = {"item": [1, 2], "tags": [[1, 1, 2], [3]], "price": [0.5, 1.0], "click": [1, 0]}
    heavy = plain | {"tags": [[1, 2], [3]], "shares": [[2.0, 1.0], [1.0]]}
    logits = []
    for columns, weights in ((plain, ""), (heavy, "shares")):
        tf.keras.utils.set_random_seed(0)
        model = MetaModel(
            Schema("item", "click", features(weights), {"item": 5, "tags": 5}),
            MLP((4,), activation="tanh"),
            embedding_dim=3,
        )
        model.compile("sgd", inner_loop=InnerLoop(2, 0.5, adapt=adapt))
        logits.append(model.adapt(columns).predict(columns))
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-5)
    assert np.ptp(logits[0]) > 1e-4
