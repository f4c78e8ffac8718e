"""What an epoch hides: by value, wherever it stands."""

import numpy as np
import pytest
from click_log import log
from small_log import only_train

from gmeta_tf import Reader
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical

BATCH = 8
ITEM, TAGS = slice(1, 2), slice(3, 6)  # packed positions in the tiny data


def epochs(folder, *, count=1, **options):
    """Per epoch, the batches of a stream."""
    reader = Reader(folder, "train", global_batch_tasks=BATCH, seed=5, **options)
    steps, stream = reader.steps_per_epoch, iter(reader.stream())
    return [[next(stream) for _ in range(steps)] for _ in range(count)]


def ids_of(batches, positions, part=slice(None)):
    """The ids at some positions of all samples of both sets, padding included."""
    sets = [one["ids"].numpy()[..., positions].ravel() for pair in batches for one in pair[part]]
    return np.concatenate(sets)


@pytest.mark.parametrize(("name", "positions"), [("item", ITEM), ("tags", TAGS)])
def test_a_value_is_new_everywhere_in_an_epoch_or_nowhere(tiny, name, positions):
    plain = epochs(tiny, count=12)
    made = epochs(tiny, count=12, cold_rates={name: 0.3})
    hidden_sets = []
    for before, after in zip(plain, made, strict=True):
        one, other = ids_of(before, positions), ids_of(after, positions)
        hidden = {value for value in set(one) if value > 0 and (other[one == value] == 0).any()}
        np.testing.assert_array_equal(other, np.where(np.isin(one, list(hidden)), 0, one))
        for pair, same in zip(before, after, strict=True):  # nothing else changes
            for part, whole in zip(pair, same, strict=True):
                rest = np.delete(part["ids"].numpy(), np.r_[positions], -1)
                np.testing.assert_array_equal(
                    np.delete(whole["ids"].numpy(), np.r_[positions], -1), rest
                )
        hidden_sets.append(hidden)
    assert len(set(map(frozenset, hidden_sets))) > 6  # each epoch draws anew
    values = len(set(np.concatenate([ids_of(one, positions) for one in plain])) - {-1, 0})
    assert 0.2 < np.mean([len(hidden) for hidden in hidden_sets]) / values < 0.4


def test_joint_training_sees_the_same(tiny):
    options = {"cold_rate": 0.5, "cold_rates": {"item": 0.5}}
    apart, joined = (epochs(tiny, joined=flag, **options)[0] for flag in (False, True))
    for (support, query), (_, both) in zip(apart, joined, strict=True):
        np.testing.assert_array_equal(
            both["ids"], np.concatenate([support["ids"], query["ids"]], 1)
        )


def test_rates_of_zero_and_one_and_passes_in_file_order(tiny):
    assert set(ids_of(epochs(tiny, cold_rates={"item": 1.0})[0], ITEM)) == {-1, 0}
    plain = ids_of(epochs(tiny)[0], ITEM)
    np.testing.assert_array_equal(ids_of(epochs(tiny, cold_rates={"item": 0})[0], ITEM), plain)
    reader = Reader(tiny, "train", global_batch_tasks=BATCH, cold_rates={"item": 1.0})
    assert ids_of(list(reader.dataset()), ITEM).max() > 0


@pytest.mark.parametrize(
    ("options", "place"), [({"cold_rates": {"item": 0.5}}, 1), ({"cold_rate": 0.5}, 0)]
)
def test_a_count_is_hidden_with_its_value(tmp_path, options, place):
    counted = ("user", "item")
    made = prepare(
        log(), tmp_path / "out", split=only_train(query=2, support=7), counts=counted, lanes=4
    )
    names = [number.name for number in made.schema.numeric_features]
    columns = [names.index(f"{name}_count") for name in counted]
    mean, deviation = made.numeric[names[columns[place]]]
    once = np.float32(-mean / deviation)  # the logarithm of 1
    (plain,), (hidden,) = epochs(tmp_path / "out"), epochs(tmp_path / "out", **options)
    seen = set()
    for pair, other in zip(plain, hidden, strict=True):
        for before, after in zip(pair, other, strict=True):
            there = before["ids"].numpy()[..., place] != after["ids"].numpy()[..., place]
            expected = before["numeric"].numpy().copy()
            expected[..., columns[place]][there] = once
            np.testing.assert_allclose(after["numeric"], expected, rtol=1e-6)
            seen |= set(there.ravel().tolist())
    assert seen == {True, False}


def test_several_rows_out_of_vocabulary_share_the_hidden(tmp_path):
    rows = {"item": Policy(out_of_vocabulary=3)}
    prepare(
        log(), tmp_path / "out", split=only_train(query=2, support=7), vocabularies=rows, lanes=4
    )
    (batches,) = epochs(tmp_path / "out", cold_rates={"item": 1.0})
    assert set(ids_of(batches, ITEM)) == {-1, 0, 1, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cold_rate": 2}, r"cold_rate must lie in \[0, 1\]. Received: cold_rate=2"),
        (
            {"cold_rates": {"item": 1.5}},
            r"cold_rates must lie in \[0, 1\]. Received: {'item': 1.5}. Leave it out",
        ),
        (
            {"cold_rates": {"item": float("nan")}},
            r"cold_rates must lie in \[0, 1\]. Received: {'item': nan}",
        ),
        (
            {"cold_rates": {"itm": 0.5}},
            r"cold_rates must name features or tables, \['item', 'shop', 'tags'\]. Received: 'itm'",
        ),
        (
            {"cold_rates": {"user": 0.5}},
            r"cold_rates must name .* Received: 'user'. .*; cold_rate is that of the task key",
        ),
    ],
)
def test_bad_rates(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        Reader(tiny, "train", global_batch_tasks=BATCH, **options)


def test_a_table_of_several_features_has_one_rate(tmp_path):
    features = (Categorical("user"), Categorical("item"), Categorical("part", table="item"))
    prepare(log(features), tmp_path / "out", split=only_train(query=2, support=7), lanes=4)
    with pytest.raises(ValueError, match=r"cold_rates must name a table once. Received: {'item':"):
        Reader(
            tmp_path / "out",
            "train",
            global_batch_tasks=BATCH,
            cold_rates={"item": 0.5, "part": 0.2},
        )
    part = slice(2, 3)
    plain, hidden = (epochs(tmp_path / "out", cold_rates=rates)[0] for rates in ({}, {"part": 0.5}))
    one, other = (
        np.stack([ids_of(batches, at) for at in (ITEM, part)]) for batches in (plain, hidden)
    )
    gone = {value for value in set(one.ravel()) if value > 0 and (other[one == value] == 0).any()}
    np.testing.assert_array_equal(other, np.where(np.isin(one, list(gone)), 0, one))


def test_a_table_without_a_row_for_what_is_new(tmp_path):
    hashed = {"item": Policy("hash", rows=20)}
    prepare(
        log(), tmp_path / "out", split=only_train(query=2, support=7), vocabularies=hashed, lanes=4
    )
    with pytest.raises(
        ValueError,
        match=r"cold_rates must be 0 unless the table of 'item' has a row out of vocabulary.",
    ):
        Reader(tmp_path / "out", "train", global_batch_tasks=BATCH, cold_rates={"item": 0.5})
