"""Every method's outer gradient against finite differences, or against its closed form, in
float64.
"""

import numpy as np
import pytest
from task_batch import SCHEMA, TASKS, batch, fetched, slope

from gmeta_tf import CBML, MLP, DeepFM, InnerLoop, MetaEmb, MetaModel, RowSGD
from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import LowRankKernel
from gmeta_tf.meta.outer_loop import outer_gradients

SHARDED = {"embedding_dim": 4, "seed": 1, "replicate_rows": 0}


def tower_of_five():
    return MLP((5,), activation="tanh")


METHODS = {
    "meta-sgd": (
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        {"inner_loop": InnerLoop(3, 0.5, adapt="all", rates="per_element")},
    ),
    "rates by step": (
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        {"inner_loop": InnerLoop(3, 0.5, adapt="head+item", rates="per_step")},
    ),
    "learned prior": (
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        {"inner_loop": InnerLoop(2, 0.5, adapt="all", prior_strength=2, learn_prior=True)},
    ),
    "learned rates and priors": (
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        {
            "inner_loop": InnerLoop(
                2, 0.5, adapt="head+item", rates="per_step", prior_strength=2, learn_prior=True
            )
        },
    ),
    "newton": (
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        {"inner_loop": InnerLoop(2, 0.5, adapt="head", rule="newton", rates="per_element")},
    ),
    "ridge": (
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        {"inner_loop": InnerLoop(1, 0.5, adapt="head", rule="newton"), "loss": "mse"},
    ),
    "cbml": (
        lambda: CBML(SCHEMA, tower_of_five(), clusters=3, width=4, **SHARDED),
        {"inner_loop": InnerLoop(2, 0.5, adapt="all")},
    ),
    "metaemb": (
        lambda: MetaEmb(SCHEMA, tower_of_five(), identity="item", features=("tags",), **SHARDED),
        {"inner_loop": InnerLoop(2, 0.5, adapt="item")},
    ),
    "metaemb, cold": (
        lambda: MetaEmb(SCHEMA, tower_of_five(), identity="item", features=("tags",), **SHARDED),
        {"cold_share": 0.4},
    ),
}


@pytest.fixture(autouse=True)
def float64():
    tf.keras.backend.set_floatx("float64")
    yield
    tf.keras.backend.set_floatx("float32")


def compiled(make, **options):
    tf.keras.utils.set_random_seed(4)
    model = make()
    model.compile("sgd", row_optimizer=RowSGD(0.1), **options)
    for small in [*model.embedding.shards, *(model.first.variables if model.first else [])]:
        small.assign(10 * small)  # large enough to matter
    for variable in model.tower.trainable_variables:
        variable.assign_add(
            tf.fill(variable.shape, tf.constant(0.1, variable.dtype))
        )  # biases begin at zero, which gates leave
    return model


def loss_of(model, rows, index, support, query):
    gathered = model.embedding.lookup.gather(rows, index)
    return model.task_loop.outer_loss(gathered, index, support, query)[1]


@pytest.mark.parametrize(
    ("name", "low_rank"), [*((name, True) for name in METHODS), ("cbml", False)]
)
def test_outer_gradients_equal_finite_differences(name, low_rank, monkeypatch):
    monkeypatch.setattr(LowRankKernel, "pays", lambda shape, *, rank: low_rank)
    make, options = METHODS[name]
    model = compiled(make, **options)
    support, query = batch()
    (table,), index = fetched(model, support, query)
    moved = tf.Variable(table)

    @tf.function(autograph=False)
    def now():
        return loss_of(model, (tf.convert_to_tensor(moved),), index, support, query)

    gathered = model.embedding.lookup.gather((table,), index)
    _, dense, of_gathered = outer_gradients(
        model.task_loop, model.dense_weights, gathered, index, support, query
    )
    of_rows = model.embedding.lookup.sum_per_row(of_gathered, index, (table,))
    for variable, gradient in zip([*model.dense_weights, moved], [*dense, *of_rows], strict=True):
        at = tuple(size // 2 for size in variable.shape)
        np.testing.assert_allclose(
            gradient.numpy()[at],
            slope(variable, at, now),
            rtol=1e-5,
            atol=1e-9,
            err_msg=variable.name,
        )
    assert all(np.abs(gradient).max() > 1e-7 for gradient in dense)


@pytest.mark.parametrize("low_rank", [True, False])
def test_reptile_goes_the_way_of_the_inner_loop(low_rank, monkeypatch):
    """Σ (φ⁰ - φᴷ) / α over tasks, with φᴷ from a loop over tasks."""
    monkeypatch.setattr(LowRankKernel, "pays", lambda shape, *, rank: low_rank)
    model = compiled(
        lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
        inner_loop=InnerLoop(3, 0.5, adapt="all", reptile=True),
    )
    support, query = batch()
    rows, index = fetched(model, support, query)
    lookup = model.embedding.lookup
    gathered = lookup.gather(rows, index)
    logits, dense, of_gathered = outer_gradients(
        model.task_loop, model.dense_weights, gathered, index, support, query
    )
    np.testing.assert_allclose(
        logits,
        model.task_loop.query_logits(gathered, index, support, query, training=True),
        rtol=1e-10,
    )
    monkeypatch.setattr(LowRankKernel, "pays", lambda shape, *, rank: False)
    expected, expected_rows = (
        [np.zeros(v.shape) for v in model.dense_weights],
        np.zeros(rows[0].shape),
    )
    for t in range(TASKS):
        one = [
            tf.nest.map_structure(lambda part, t=t: part[t : t + 1], part)
            for part in (support, query)
        ]
        task = model.task_loop.first_task(
            lookup.gather(rows, index[t : t + 1]), index[t : t + 1], *one
        )
        fast, (fast_rows,) = model.task_loop.adapt(task, training=True)
        for total, variable, adapted in zip(expected, model.dense_weights, fast, strict=True):
            total += (variable.numpy() - adapted.numpy()) / 0.5
        places = index[t, : support["ids"].shape[1]].numpy().ravel()
        np.add.at(expected_rows, places, (rows[0].numpy()[places] - fast_rows.numpy()) / 0.5)
    for one, other in zip(dense, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        lookup.sum_per_row(of_gathered, index, rows)[0], expected_rows, rtol=1e-8, atol=1e-12
    )
    assert np.abs(expected_rows).max() > 1e-4


def test_what_was_learned_is_trained_and_adapts_otherwise_by_fixed_rates_only():
    model = compiled(*[METHODS["meta-sgd"][0]], **METHODS["meta-sgd"][1])
    support, query = (
        tf.nest.map_structure(
            lambda part: tf.cast(part, tf.float64) if part.dtype.is_floating else part, s
        )
        for s in batch()
    )
    before = [v.numpy() for v in model.dense_weights]
    model.train_step((support, query))
    moved = [
        np.abs(v.numpy() - b).max() > 0 for v, b in zip(model.dense_weights, before, strict=True)
    ]
    assert all(moved)
    assert len(moved) == len(model.tower.trainable_variables) + len(model.rates.trainable_variables)
    model.adapt_by(InnerLoop(1, 0.1, adapt="dense"))
    for other, received in (
        ({"rates": "per_step"}, "per_s"),
        ({"adapt": "head", "rule": "newton", "rates": "per_element"}, "newton"),
    ):
        with pytest.raises(
            ValueError,
            match=rf"inner_loop must have the rates that the model was compiled with, or fixed ones. Received: .*{received}",
        ):
            model.adapt_by(InnerLoop(1, 0.1, **other))
    with pytest.raises(
        ValueError,
        match=r"inner_loop must have the prior strengths that the model was compiled with, or a fixed one. Received:",
    ):
        model.adapt_by(InnerLoop(1, 0.1, prior_strength=2, learn_prior=True))


def test_a_head_in_closed_form_must_be_linear():
    def tower():
        return tf.keras.Sequential(
            [tf.keras.layers.Lambda(lambda x: x["embedded"]), tf.keras.layers.Dense(1, "tanh")]
        )

    with pytest.raises(
        ValueError,
        match=r"tower must end in one linear Dense layer to the logit for rule 'newton'. Received: .*tanh",
    ):
        compiled(
            lambda: MetaModel(SCHEMA, tower(), **SHARDED),
            inner_loop=InnerLoop(adapt="head", rule="newton"),
        )


def test_reptile_must_move_all_weights():
    with pytest.raises(
        ValueError,
        match=r"adapt must be 'all' with reptile, .* Received: adapt='dense'. Adapt all.",
    ):
        compiled(
            lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
            inner_loop=InnerLoop(adapt="dense", reptile=True),
        )


def adapting(model, support, query):
    """(logits before adaptation, logits after it), in training."""
    (table,), index = fetched(model, support, query)
    gathered = model.embedding.lookup.gather((table,), index)
    return [
        model.task_loop.query_logits(
            gathered, index, support, query, training=True, adapt=adapt
        ).numpy()
        for adapt in (False, True)
    ]


@pytest.mark.parametrize(
    "name", ["cbml", "metaemb", "meta-sgd", "newton", "learned prior", "learned rates and priors"]
)
def test_without_support_a_task_is_scored_as_before_adaptation(name):
    make, options = METHODS[name]
    support, query = batch()
    support["weight"] = tf.zeros_like(support["weight"])
    before, after = adapting(compiled(make, **options), support, query)
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_a_task_without_support_has_no_cold_loss():
    model, support, query = (
        compiled(METHODS["cbml"][0], inner_loop=InnerLoop(1, 0.1, adapt="all")),
        *batch(),
    )
    support["weight"] = tf.zeros_like(support["weight"])
    losses = []
    for share in (0.0, 0.5):
        model.compile("sgd", inner_loop=InnerLoop(1, 0.1, adapt="all"), cold_share=share)
        (table,), index = fetched(model, support, query)
        losses.append(float(loss_of(model, (table,), index, support, query)))
    assert losses[1] == pytest.approx(losses[0])


def test_the_head_in_closed_form_knows_what_the_tower_adds():
    """The gradient of Σ L + ½ (w - w⁰)ᵀ Λ (w - w⁰) is zero at the head of a DeepFM."""
    model = compiled(
        lambda: MetaModel(SCHEMA, DeepFM(4, units=(5,)), **SHARDED),
        inner_loop=InnerLoop(1, 0.5, adapt="head", rule="newton"),
        loss="mse",
    )
    support, query = batch()
    (table,), index = fetched(model, support, query)
    gathered = model.embedding.lookup.gather((table,), index)
    task = model.task_loop.first_task(gathered, index, support, query)
    head, _ = model.task_loop.adapt(task, training=True)
    with tf.GradientTape() as tape:
        tape.watch(head)
        scores = model.task_loop._tower(
            head, task["support_embedded"], task["support_numeric"], training=True
        )
        loss = tf.reduce_sum(task["support_weight"] * (task["support_label"] - scores) ** 2)
        loss += sum(
            tf.reduce_sum((w - first) ** 2)
            for w, first in zip(head, model.task_loop.variables, strict=True)
        ) / (2 * 0.5)
    for gradient in tape.gradient(loss, head):
        np.testing.assert_allclose(gradient, tf.zeros_like(gradient), atol=1e-9)


def test_what_cannot_be_is_refused():
    class Squashed(MLP):
        def call(self, inputs, training=None):
            return 3 * tf.tanh(super().call(inputs, training=training))

    with pytest.raises(
        ValueError,
        match=r"tower must give what its head gives, once, or add to it, for rule 'newton'. Received: logits of",
    ):
        compiled(
            lambda: MetaModel(SCHEMA, Squashed((5,)), **SHARDED),
            inner_loop=InnerLoop(1, 0.5, adapt="head", rule="newton"),
        )
    with pytest.raises(
        ValueError,
        match=r"cold_share must be 0 with reptile, which has no outer loss. Received: cold_share=0.2",
    ):
        compiled(
            lambda: MetaModel(SCHEMA, tower_of_five(), **SHARDED),
            inner_loop=InnerLoop(1, 0.5, adapt="all", reptile=True),
            cold_share=0.2,
        )


@pytest.mark.parametrize(
    "own", [{"rates": "per_step"}, {"reptile": True}, {"prior_strength": 2, "learn_prior": True}]
)
def test_narrow_kernels_move_in_mixed_precision(own):
    tf.keras.backend.set_floatx("float32")
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = MetaModel(SCHEMA, MLP((64, 64)), **SHARDED)
        model.compile("sgd", inner_loop=InnerLoop(1, 0.1, adapt="all", **own))
        support, query = (
            tf.nest.map_structure(
                lambda part: tf.cast(part, tf.float32) if part.dtype.is_floating else part, s
            )
            for s in batch()
        )
        (table,), index = fetched(model, support, query)
        gathered = model.embedding.lookup.gather((table,), index)
        logits, *_ = outer_gradients(
            model.task_loop, model.dense_weights, gathered, index, support, query
        )
    finally:
        tf.keras.mixed_precision.set_global_policy(None)
    assert np.isfinite(logits).all()
