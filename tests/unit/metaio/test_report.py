"""What preparation tells of what it made."""

import logging

import numpy as np
import pytest

from gmeta_tf.metaio import report
from gmeta_tf.metaio.policies import Split


@pytest.fixture(autouse=True)
def every_note(caplog):
    caplog.set_level(logging.INFO)


def tally(labels=(), part="query", unknown=0, there=0):
    made = report.Tally()
    made.add_labels(part, np.array(labels, np.float32))
    made.unknown["item"] += unknown
    made.there["item"] += there
    return made


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"files": 12, "files_empty": 3}, "read 12 files, 3 of them empty"),
        ({"files": 2, "files_empty": 0}, "read 2 files"),
        ({"files": 1, "files_empty": 0}, ""),
        ({}, ""),
    ],
)
def test_files(caplog, counts, said):
    report.tell_files(counts)
    assert caplog.messages == ([said] if said else [])
    assert counts == {}


@pytest.mark.parametrize(
    ("support", "size", "said"),
    [(6, 0, "6 of 10 tasks are dropped: they have fewer samples than a query set (query=3)"),
     (0, 9, "9 of 13 tasks are dropped: they have not least_samples … most_samples"),
     (4, 4, "")],
)  # fmt: skip
def test_dropped_tasks(caplog, support, size, said):
    counts = {
        "tasks": 8,
        "tasks_dropped_without_support": support,
        "tasks_dropped_by_size": size,
    }
    report.tell_dropped(counts, Split(query=3, episodes=2))
    assert (said in caplog.text) if said else not caplog.messages


@pytest.mark.parametrize(
    ("dropped", "split", "said"),
    [
        (7, {}, "7 samples are dropped: they are older than what a query set (query=10) and a"),
        (7, {"by": "random"}, "they are not drawn for what a query set"),
        (7, {"by": "column", "column": "p"}, "they are more than what a query set"),
        (7, {"episodes": 2}, "support set (support=20) take, in each of 2 episodes"),
        (0, {}, ""),
    ],
)
def test_dropped_samples(caplog, dropped, split, said):
    report.tell_dropped_samples({"samples_dropped": dropped}, Split(**split))
    assert (said in caplog.text) if said else not caplog.messages


def test_labels_are_told_by_class(caplog):
    train, test = tally([0, 1, 1]), tally([1, 1])
    train.add(tally([0], part="support"))
    report.tell_labels({"train": train, "test": test})
    assert caplog.messages == [
        "all 2 query samples of test have label 1: nothing can be ranked there",
        "labels: 0 in 2, 1 in 4",
    ]


def test_many_labels_are_not_listed(caplog):
    report.tell_labels({"train": tally(range(100))})
    assert caplog.messages == []


def test_missing_values_are_told(caplog):
    made = {name: tally() for name in ("train", "test")}
    report.tell_missing(made)
    assert not caplog.messages
    for own in made.values():
        own.samples += 10
        own.missing.update({"age": 1, "item": 0, "price": 5})
    report.tell_missing(made)
    assert caplog.messages == ["without a value: price 50.0%, age 10.0%"]


@pytest.mark.parametrize(
    ("partition", "unknown", "like", "held_out", "said"),
    [
        ("test", 1, "", set(), "out of vocabulary in validation and test: item 10.0%"),
        ("train", 1, "", set(), ""),
        ("train", 1, "old", set(), "out of vocabulary by the vocabularies of old: item 10.0%"),
        ("test", 10, "", set(), "item: 100.0% of the values are out of vocabulary"),
    ],
)
def test_values_out_of_vocabulary(caplog, partition, unknown, like, held_out, said):
    made = {partition: tally(unknown=unknown, there=10)}
    report.tell_unknown(made, held_out, like=like)
    assert (said in caplog.text) if said else not caplog.messages


def test_data_that_like_does_not_know_is_refused():
    made = {"train": tally(unknown=10, there=10)}
    with pytest.raises(ValueError, match=r"values that like knows. Received: 100.0% of those of"):
        report.tell_unknown(made, set(), like="old")
    report.tell_unknown(made, {"item"}, like="old")
