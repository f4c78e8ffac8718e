"""Which tasks there are, and which samples their sets hold."""

import dataclasses

import numpy as np
import pytest
from click_log import log, moments_of, times
from small_log import only_train, source

from gmeta_tf import Reader
from gmeta_tf.metaio import samples
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.validate import validate


def test_counts_vocabularies_and_the_split(tmp_path):
    made = prepare(source(), tmp_path / "out", split=only_train(query=1, support=3), lanes=2)
    assert made.counts == {
        "tasks": 2,
        "tasks_dropped_without_support": 1,
        "tasks_dropped_by_size": 0,
        "samples": 6,
        "samples_dropped": 3,
    }
    assert made.vocabularies["item"].values == ("i0", "i1", "i3", "i4", "i5", "i6")
    assert made.schema.tables == {"user": 3, "item": 7, "tags": 3}
    assert Manifest.load(tmp_path / "out").counts == made.counts
    batches = list(Reader(tmp_path / "out", "train", global_batch_tasks=2).dataset())
    labels = {
        tuple(s["label"][t].numpy()[s["weight"][t].numpy() > 0]): float(q["label"][t, 0])
        for s, q in batches
        for t in range(2)
    }
    assert labels == {
        (1.0, 0.0, 1.0): 0.0,
        (1.0,): 0.0,
    }  # a: moments 3, 4, 5 and then 6; b: 1 and then 2


def test_moments_are_those_of_the_numbers_together():
    """Exactly the same in any order, as threads are free to change it."""
    numbers = 1e9 * np.sin(np.arange(10_000))
    assert samples.moments(numbers) == samples.moments(
        np.random.default_rng(0).permutation(numbers)
    )
    parts = [samples.moments(part) for part in np.split(numbers, [1, 10, 7000])]
    assert samples.together([samples.moments(numbers[:0]), *parts]) == pytest.approx(
        (numbers.mean(), numbers.std()), rel=1e-12
    )
    assert samples.together([]) == (0.0, 1.0)
    assert samples.moments(np.array([1.0, np.nan, 3.0])) == (
        2,
        2.0,
        2.0,
    )


def test_the_last_samples_are_queries_and_those_before_support(tmp_path):
    prepare(log(), tmp_path / "out", split=only_train(query=2, support=3), lanes=2)
    assert moments_of(times(tmp_path / "out", "train")) == [([4, 5, 6], [7, 8])] * 12


def test_earlier_episodes_are_windows_further_back(tmp_path):
    made = prepare(
        log(),
        tmp_path / "out",
        split=only_train(query=2, support=3, episodes=3, least_support=3),
        lanes=2,
    )
    assert made.counts["tasks"] == 36
    assert moments_of(times(tmp_path / "out", "train")) == sorted(
        [([4, 5, 6], [7, 8]), ([2, 3, 4], [5, 6]), ([0, 1, 2], [3, 4])] * 12
    )


def test_random_episodes_are_drawn_anew_and_by_seed(tmp_path):
    drawn = []
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        split = only_train(by="random", query=2, support=3, episodes=2, seed=seed)
        prepare(log(), tmp_path / name, split=split, lanes=2)
        drawn.append(moments_of(times(tmp_path / name, "train")))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 24
    for support, query in drawn[0]:
        assert (len(support), len(query), len(set(support) | set(query))) == (3, 2, 5)
    assert len({str(one) for one in drawn[0]}) > 15


def test_a_column_may_split(tmp_path):
    prepare(
        log(),
        tmp_path / "out",
        split=only_train(by="column", column="part", query=5, support=4),
        lanes=2,
    )
    assert moments_of(times(tmp_path / "out", "train")) == [([5, 6, 7, 8], [0, 4])] * 12
    with pytest.raises(
        ValueError,
        match=r"year must be 'support' or 'query' in every row. Received: 1990 in row 0 of task 'u0', the first of 108",
    ):
        prepare(log(), tmp_path / "bad", split=only_train(by="column", column="year"))


def test_tasks_of_other_sizes_are_dropped_and_counted(tmp_path):
    split = only_train(query=1, support=3)
    for options, counts in [
        ({"most_samples": 6}, (1, 1, 1)),
        ({"least_samples": 3}, (1, 1, 1)),
        ({"least_support": 2}, (1, 2, 0)),
    ]:
        made = prepare(
            source(),
            tmp_path / "out",
            split=dataclasses.replace(split, **options),
            lanes=1,
            overwrite=True,
        ).counts
        assert (
            made["tasks"],
            made["tasks_dropped_without_support"],
            made["tasks_dropped_by_size"],
        ) == counts


def test_tasks_by_time_and_by_list(tmp_path):
    def users(folder, partition):
        return {min(support) // 100 for support, _ in times(folder, partition).values()}

    prepare(
        log(),
        tmp_path / "time",
        split=Split(query=2, support=3, tasks_by="time", fractions=(0.5, 0.25, 0.25)),
        lanes=1,
    )
    assert [users(tmp_path / "time", name) for name in ("train", "validation", "test")] == [
        set(range(6)),
        {6, 7, 8},
        {9, 10, 11},
    ]
    prepare(
        log(),
        tmp_path / "list",
        split=Split(query=2, support=3, tasks_by="list", test=["u3"], validation=["u0", "u5"]),
        lanes=1,
    )
    assert [users(tmp_path / "list", name) for name in ("validation", "test")] == [{0, 5}, {3}]


def test_lanes_hold_about_as_many_samples_in_shards_of_about_a_size(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    rows = [
        f"('u{u}', 'i', [], 1.0, {t}, 1.0)"
        for u, n in enumerate(draw.integers(2, 60, 80))
        for t in range(n)
    ]
    monkeypatch.setattr("gmeta_tf.metaio.prepare.MOST_SAMPLES", 150)
    made = prepare(source(rows), tmp_path / "out", split=only_train(query=1, support=99), lanes=4)
    lanes = made.partitions["train"]
    assert max(lane.samples for lane in lanes) - min(lane.samples for lane in lanes) <= 60
    assert {lane.tasks for lane in lanes} == {20}
    assert all(
        len(lane.shards) > 2 and max(shard.samples for shard in lane.shards) < 150 + 60
        for lane in lanes
    )
    assert validate(tmp_path / "out").problems == []
    reader = Reader(tmp_path / "out", "train", global_batch_tasks=8)
    weights = [query["weight"].numpy() for _, query in reader.stream().take(reader.steps_per_epoch)]
    assert sum(float(weight.sum()) for weight in weights) == 80
    assert reader.padding_share == pytest.approx(1 - made.counts["samples"] / (80 * 100))


@pytest.mark.parametrize(
    "split",
    [
        {},
        {"by": "random", "episodes": 2},
        {"by": "column", "column": "part"},
        {"duplicates": "keep"},
    ],
    ids=str,
)
def test_many_columns_are_staged_and_encoded_some_at_a_time(tmp_path, monkeypatch, split):
    """The files are the same, however many columns or values are taken at once."""
    files = []
    for number in range(2):
        out = tmp_path / str(number)
        prepare(log(), out, split=only_train(query=2, support=3, **split), lanes=2)
        paths = sorted(out.rglob("*.*"))
        files.append({path.relative_to(out): path.read_bytes() for path in paths})
        monkeypatch.setattr("gmeta_tf.metaio.samples.COLUMNS", 2)
        monkeypatch.setattr("gmeta_tf.metaio.vocabularies.SMALL", -1)
        monkeypatch.setattr("gmeta_tf.metaio.ids.JOINS", 1)
    assert files[0] == files[1]
