"""What is served is what `MetaModel` scores, for one task at a time."""

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import DLRM
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema
from gmeta_tf.serving.served import ServedModel
from gmeta_tf.serving.tables import WholeTables

SCHEMA = Schema(
    "user",
    "click",
    (
        Categorical("user"),
        Categorical("item"),
        MultiHot("tags", 3, weights="shares"),
        MultiHot("genres", 2, "sum"),
        Numeric("price"),
    ),
    {"user": 4, "item": 9, "tags": 5, "genres": 4},
)
DIMS = {"user": 4, "item": 4, "tags": 3, "genres": 4}


def columns(samples, *, seed):
    """Encoded columns of one user's samples, items repeated."""
    draw = np.random.default_rng(seed)
    tags = [draw.integers(0, 5, draw.integers(0, 4)).tolist() for _ in range(samples)]
    return {
        "user": np.full(samples, 2),
        "item": draw.integers(0, 4, samples),
        "tags": tags,
        "shares": [draw.uniform(0.5, 2, len(own)).tolist() for own in tags],
        "genres": [draw.integers(0, 4, draw.integers(0, 3)).tolist() for _ in range(samples)],
        "price": draw.normal(size=samples),
        "click": draw.integers(0, 2, samples),
    }


def make(inner_loop, *, tower=None, dims=DIMS, **options):
    tf.keras.utils.set_random_seed(1)
    model = MetaModel(
        SCHEMA,
        tower or MLP((6,), activation="tanh"),
        embedding_dim=dims,
        placement={"item": "sharded"},
    )
    model.compile("sgd", inner_loop=inner_loop, **options)
    for shard in model.embedding.shards:
        shard.assign(20 * shard)  # rows large enough to matter
    return model


def serve(model, support_size=6, query_size=5):
    return ServedModel(
        model, WholeTables(model.embedding), support_size=support_size, query_size=query_size
    ).functions


def request(support, query):
    packed = {"support": SCHEMA.pack(support), "query": SCHEMA.pack(query)}
    names = ("support_ids", "support_numeric", "support_label", "query_ids", "query_numeric")
    return {name: tf.constant(packed[name.split("_")[0]][name.split("_")[1]]) for name in names}


@pytest.fixture(scope="module")
def served():
    return serve(make(InnerLoop(1, 0.5)))


@pytest.mark.parametrize(
    ("inner_loop", "options"),
    [
        (
            InnerLoop(1, 0.5),
            {"tower": DLRM(4, bottom=(5,), top=(8,), activation="tanh"), "dims": 4},
        ),
        (InnerLoop(2, 0.5, adapt="all", prior_strength=3), {}),
        (InnerLoop(2, 0.5, adapt="head+item", prior_strength=2, learn_prior=True), {}),
    ],
    ids=["dense", "all", "head"],
)
def test_scores_are_the_models(inner_loop, options):
    model = make(inner_loop, **options)
    functions = serve(model)
    support, query = columns(4, seed=0), columns(5, seed=1)
    adapted = functions["adapt_and_predict"](**request(support, query))
    np.testing.assert_allclose(
        adapted["logits"], model.adapt(support).predict(query), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        adapted["probabilities"], 1 / (1 + np.exp(-adapted["logits"])), rtol=1e-5
    )
    batch = [
        {key: tf.constant(v[None]) for key, v in SCHEMA.pack(part).items()}
        for part in (support, query)
    ]
    batch = tuple(part | {"weight": tf.ones_like(part["label"])} for part in batch)
    in_batch = model.predict(tf.data.Dataset.from_tensors(batch), verbose=0)[0]
    np.testing.assert_allclose(adapted["logits"], in_batch, rtol=1e-4, atol=1e-6)
    before = model.task_loop.query_logits(
        *reversed(model.look_up(*batch)), *batch, training=False, adapt=False
    )[0]
    plain = functions["predict"](ids=batch[1]["ids"][0], numeric=batch[1]["numeric"][0])
    np.testing.assert_allclose(plain["logits"], before, rtol=1e-4, atol=1e-6)
    assert np.abs(plain["logits"] - adapted["logits"]).max() > 1e-3


@pytest.mark.parametrize("part", ["support", "query"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(served, part, value):
    inputs = request(columns(3, seed=0), columns(2, seed=1))
    spoilt = inputs[f"{part}_numeric"].numpy()
    spoilt[1, 0] = value
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"{part}_numeric must be finite, as in training. Received: \[{value}\]. Send the mean",
    ):
        served["adapt_and_predict"](**inputs | {f"{part}_numeric": tf.constant(spoilt)})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"numeric must be finite"):
        served["predict"](ids=inputs[f"{part}_ids"], numeric=tf.constant(spoilt))


def test_any_sizes_up_to_the_maximum_are_served(served):
    query = columns(3, seed=1)
    full = request(columns(6, seed=0), query)
    assert served["adapt_and_predict"](**full)["logits"].shape == [3]
    plain = served["predict"](ids=full["query_ids"], numeric=full["query_numeric"])["logits"]
    without = full | {name: full[name][:0] for name in full if name.startswith("support")}
    np.testing.assert_allclose(served["adapt_and_predict"](**without)["logits"], plain, rtol=1e-5)
    many = SCHEMA.pack(columns(50, seed=2))
    assert served["predict"](ids=tf.constant(many["ids"]), numeric=tf.constant(many["numeric"]))[
        "logits"
    ].shape == [50]


def shortened(name):
    return lambda full: full | {name: full[name][:-1]}


def labelled(value):
    return lambda full: (
        full | {"support_label": tf.fill(full["support_label"].shape, np.float32(value))}
    )


@pytest.mark.parametrize(
    ("sizes", "change", "message"),
    [
        (
            (7, 5),
            dict,
            r"support_ids must hold at most 6 samples, as given at export. Received: 7. Send fewer",
        ),
        (
            (6, 6),
            dict,
            r"query_ids must hold at most 5 samples, as given at export. Received: 6. Send fewer",
        ),
        (
            (4, 2),
            shortened("support_label"),
            r"support_ids must have a row for each row .*Received: \[4 4 3\] rows. Give them one length",
        ),
        (
            (4, 2),
            shortened("query_numeric"),
            r"query_ids must have a row for each row .*Received: \[2 1 2\] rows. Give them one length",
        ),
        (
            (4, 2),
            labelled(np.nan),
            r"support_label must lie in \[0, 1\], as in training. Received: \[nan nan nan nan\]. Leave out",
        ),
        (
            (4, 2),
            labelled(5),
            r"support_label must lie in \[0, 1\], as in training. Received: \[5 5 5 5\]",
        ),
        (
            (4, 2),
            lambda full: full | {"query_ids": full["query_ids"] + 9},
            r"ids must lie inside their table, or be -1 for none",
        ),
    ],
)
def test_what_is_no_request_is_refused(sizes, change, message, served):
    support, query = (columns(size, seed=seed) for seed, size in enumerate(sizes))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served["adapt_and_predict"](**change(request(support, query)))


def test_other_losses_have_no_probabilities_and_take_any_finite_label():
    functions = serve(make(InnerLoop(1, 0.1, adapt="head"), loss="mse"))
    assert list(functions["predict"].structured_outputs) == ["logits"]
    rated = request(columns(4, seed=0), columns(2, seed=1))
    assert np.isfinite(functions["adapt_and_predict"](**labelled(5)(rated))["logits"]).all()
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"support_label must be finite, as in training. Received: \[inf inf inf inf\]",
    ):
        functions["adapt_and_predict"](**labelled(np.inf)(rated))


def test_every_weight_of_the_tower_is_kept():
    model = make(InnerLoop(1, 0.1, adapt="head"))
    served = ServedModel(model, WholeTables(model.embedding), support_size=2, query_size=2)
    kept = {id(variable) for variable in served.weights}
    assert {id(variable) for variable in model.tower.variables} < kept
    assert len(served.weights) == len(model.tower.variables) + 2  # and rows of two dims
