"""What a step may be given."""

import numpy as np
import pytest

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.admission import Admission
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SCHEMA = Schema(
    "user",
    "click",
    (Categorical("user"), MultiHot("tags", 2), Numeric("price")),
    {"user": 4, "tags": 7},
)


def samples(**changed):
    made = {
        "ids": np.array([[[3, 6, -1], [0, 1, 2]]]),
        "numeric": np.ones([1, 2, 1], np.float32),
        "label": np.array([[1.0, 0.0]], np.float32),
        "weight": np.ones([1, 2], np.float32),
    }
    return tf.nest.map_structure(tf.constant, made | changed)


def admission(*, probabilities=True, id_dtype=tf.int32):
    return Admission(SCHEMA, id_dtype=id_dtype, probabilities=probabilities)


@pytest.mark.parametrize("floats", ["float32", "float64"])
@pytest.mark.parametrize("id_dtype", [tf.int32, tf.int64])
def test_samples_come_back_as_they_were(floats, id_dtype):
    own, part = admission(id_dtype=id_dtype), samples()
    part = {k: v if k == "ids" else tf.cast(v, floats) for k, v in part.items()}
    support, query = own.pack(part, part | {"ids": part["ids"][..., ::-1] // 4}, step=0)
    found = own.unpack(support)
    assert found["numeric"].dtype == floats
    tf.nest.map_structure(np.testing.assert_array_equal, found, part)
    ids = own.ids(own.bits_of(support, query))
    np.testing.assert_array_equal(ids, tf.concat([part["ids"], part["ids"][..., ::-1] // 4], 1))


def test_padding_has_neither_id_nor_label():
    part = samples(weight=np.array([[1.0, 0.0]], "f4"), label=np.array([[1.0, np.nan]], "f4"))
    packed, _ = admission().pack(part, samples(), step=0)
    found = admission().unpack(packed)
    assert found["ids"].numpy()[0].tolist() == [[3, 6, -1], [-1, -1, -1]]
    assert found["label"].numpy().tolist() == [[1.0, 0.0]]


IDS = r"ids must lie inside their table. Received: id {} of feature .?{}.?, whose table has {} rows"
REFUSED = {
    "beyond": ({"ids": np.array([[[3, 6, -1], [0, 1, 9]]])}, IDS.format(9, "tags", 7)),
    "below": ({"ids": np.array([[[-2, 6, -1], [0, 1, 2]]])}, IDS.format(-2, "user", 4)),
    "beyond int32": (
        {"ids": np.array([[[2**32, 6, -1], [0, 1, 2]]])},
        IDS.format(2**32, "user", 4),
    ),
    "rating": (
        {"label": np.array([[5.0, 1.0]], "f4")},
        r"label must lie in \[0, 1\] for the loss binary_crossentropy. Received: 1 to 5",
    ),
    "rating beside padding": (
        {"label": np.array([[5.0, 0.0]], "f4"), "weight": np.array([[1.0, 0.0]], "f4")},
        r"label must lie in \[0, 1\] .* Received: 5 to 5",
    ),
    "nan": ({"label": np.array([[np.nan, 1.0]], "f4")}, r"label must lie in \[0, 1\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_refused(kind, place):
    changed, message = REFUSED[kind]
    sets = [samples(), samples()]
    sets[place] = samples(**changed)
    where = rf", at step 7 on rank {comm.rank()} of {comm.size()}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message + ".*" + where):
        admission().pack(*sets, step=7)


def test_a_batch_without_tasks_is_refused():
    nothing = {name: part[:0] for name, part in samples().items()}
    told = rf"batch must hold a task. Received: none, at step 7 on rank {comm.rank()} of "
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        admission().pack(nothing, nothing, step=7)


def test_ratings_are_admitted_where_labels_are_no_probabilities():
    rated = samples(label=np.array([[5.0, 1.0]], np.float32))
    own = admission(probabilities=False)
    packed, _ = own.pack(rated, samples(), step=0)
    assert own.unpack(packed)["label"].numpy().tolist() == [[5.0, 1.0]]
