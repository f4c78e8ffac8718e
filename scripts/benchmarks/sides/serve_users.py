"""Latency of one new user: adapt to 20 samples and score 10, of a model of MovieLens-100K's sizes
and random weights.

cd scripts/benchmarks
python -m sides.serve_users --how exported --steps 400        the SavedModel's `adapt_and_predict`
python -m sides.serve_users --how program --steps 100         `MetaModel.adapt` and `predict`

Both begin at encoded columns and end at logits in NumPy.
"""

import tempfile
import time
from collections.abc import Callable
from typing import Literal

import jsonargparse
import numpy as np
from harness import side

from gmeta_tf import DLRM, Categorical, InnerLoop, Manifest, MetaModel, MultiHot, Numeric, Schema
from gmeta_tf._tensorflow import tf
from gmeta_tf.serving.export import export

TABLES = {"user_id": 756, "age": 8, "gender": 3, "occupation": 22, "item_id": 1683, "genres": 20}
GENRES = 10  # slots
SUPPORT, QUERY, DIM = 20, 10, 8
WARM_UP_USERS = 5
USERS = 16  # which come again and again


def main():
    """Prints `median_ms` and `p95_ms` of a user, and the mean of all logits."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_function_arguments(measure)
    options = parser.parse_args()
    side.take_cores(None)
    side.show(measure(**options))


def measure(how: Literal["exported", "program"] = "exported", steps: int = 100) -> dict[str, float]:
    """Serves users one after another.

    Args:
      how: by the exported model, or in the program that has the model.
      steps: users to time.
    """
    score = {"exported": exported, "program": in_program}[how](make_model())
    people = users()
    seconds, logits = [], []
    for number in range(WARM_UP_USERS + steps):
        support, query = people[number % USERS]
        began = time.perf_counter()
        logits.append(score(support, query))
        seconds.append(time.perf_counter() - began)
    taken = 1e3 * np.array(seconds[WARM_UP_USERS:])
    return {
        "median_ms": float(np.median(taken)),
        "p95_ms": float(np.percentile(taken, 95)),
        "mean_logit": float(np.mean(logits[:USERS])),
    }


def make_model() -> MetaModel:
    """The README's model for MovieLens-100K (scripts/configs/movielens_100k.yaml), not trained."""
    tf.keras.utils.set_random_seed(0)
    names = ("user_id", "age", "gender", "occupation", "item_id")
    schema = Schema(
        "user_id",
        "click",
        (*map(Categorical, names), MultiHot("genres", GENRES), Numeric("year")),
        TABLES,
    )
    model = MetaModel(
        schema, DLRM(DIM, bottom=(16,), top=(16,), activation="swish"), embedding_dim=DIM
    )
    model.compile(inner_loop=InnerLoop(1, 0.3, adapt="all"))
    return model


def exported(model: MetaModel) -> Callable:
    """Scores by a SavedModel of the model, loaded anew."""
    nothing = {"split": {}, "tables": {}, "numeric": {}, "counts": {}, "partitions": {}}
    manifest = Manifest(schema=model.schema, support_size=SUPPORT, query_size=QUERY, **nothing)
    with tempfile.TemporaryDirectory() as folder:
        export(model, f"{folder}/model", manifest=manifest)
        loaded = tf.saved_model.load(f"{folder}/model")
    adapt_and_predict = loaded.signatures["adapt_and_predict"]

    def score(support, query):
        packed = {"support": model.schema.pack(support), "query": model.schema.pack(query)}
        request = {
            f"{part}_{name}": tf.constant(packed[part][name])
            for part in packed
            for name in ("ids", "numeric")
        }
        return adapt_and_predict(support_label=tf.constant(packed["support"]["label"]), **request)[
            "logits"
        ].numpy()

    score.loaded = loaded  # whose variables live as long as it does
    return score


def in_program(model: MetaModel) -> Callable:
    """Scores by the model itself."""
    return lambda support, query: model.adapt(support).predict(query)


def users() -> list[tuple[dict, dict]]:
    """(support, query) of some users, encoded columns each."""
    draw = np.random.default_rng(0)

    def columns(samples, own):
        items = draw.integers(0, TABLES["item_id"], samples)
        genres = [
            draw.choice(TABLES["genres"], draw.integers(1, GENRES + 1), replace=False).tolist()
            for _ in range(samples)
        ]
        made = {name: np.full(samples, id_) for name, id_ in own.items()} | {
            "item_id": items,
            "genres": genres,
        }
        return made | {"year": draw.normal(size=samples), "click": draw.integers(0, 2, samples)}

    people = [
        {
            name: draw.integers(0, TABLES[name])
            for name in ("user_id", "age", "gender", "occupation")
        }
        for _ in range(USERS)
    ]
    return [(columns(SUPPORT, own), columns(QUERY, own)) for own in people]


if __name__ == "__main__":
    main()
