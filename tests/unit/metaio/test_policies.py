"""What a split refuses; what it does is tested with `samples`."""

import pytest

from gmeta_tf.metaio.policies import ColdItems, Split


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"query": 0},
            r"query must be a number of samples, or a share below 1, and support at least 1. Received: query=0, support=20",
        ),
        ({"least_support": 0}, r"least_support must be 1 … support=20. Received: least_support=0"),
        (
            {"least_support": 21},
            r"least_support must be 1 … support=20. Received: least_support=21",
        ),
        (
            {"episodes": 0},
            r"episodes must be at least 1, and 1 where a column splits. Received: episodes=0, by='time'",
        ),
        (
            {"by": "column", "column": "part", "episodes": 2},
            r"episodes must be at least 1, and 1 .* Received: episodes=2, by='column'",
        ),
        (
            {"least_samples": 5, "most_samples": 4},
            r"most_samples must be at least least_samples=5. Received: most_samples=4",
        ),
        (
            {"by": "column"},
            r"column must be given for by='column' alone. Received: by='column', column=''",
        ),
        (
            {"column": "part"},
            r"column must be given for by='column' alone. Received: by='time', column='part'",
        ),
        (
            {"tasks_by": "list"},
            r"validation and test must be apart, and given for tasks_by='list' alone. Received: tasks_by='list', 0 and 0",
        ),
        (
            {"test": ("a",)},
            r"validation and test must be apart, and given for tasks_by='list' alone. Received: tasks_by='random', 0 and 1",
        ),
        (
            {"tasks_by": "list", "validation": ["a", "b"], "test": ["b"]},
            r"validation and test must be apart, .* 2 and 1 tasks, 1 of them",
        ),
        *(
            (
                {"fractions": fractions},
                r"fractions must be three, at least 0 and of sum 1. Received: fractions=\(.*\). Give those of",
            )
            for fractions in [
                (0.5, 0.1, 0.1),
                (1.5, -0.5, 0.0),
                (0.5, 0.5),
                (float("nan"), 0.5, 0.5),
            ]
        ),
    ],
)
def test_bad_splits(options, message):
    with pytest.raises(ValueError, match=message):
        Split(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            r"cold_items must have one of fraction, listed and since. Received: fraction=None, 0 listed, since=None",
        ),
        (
            {"fraction": 0.1, "listed": ("a",)},
            r"cold_items must have one of .* Received: fraction=0.1, 1 listed, since=None",
        ),
        ({"fraction": 1.0}, r"fraction must lie between 0 and 1. Received: fraction=1.0"),
        (
            {"since": 1998},
            r"since and age_column must be given together. Received: since=1998, age_column=''",
        ),
        (
            {"fraction": 0.1, "age_column": "year"},
            r"since and age_column must be given together. Received: since=None, age_column='year'",
        ),
    ],
)
def test_bad_cold_items(options, message):
    with pytest.raises(ValueError, match=message):
        ColdItems("item", **options)


def test_partitions():
    assert Split().partitions == ("train", "validation", "test")
    cold = Split(cold_items=ColdItems("item", listed=["a"])).partitions
    assert cold == (
        "train",
        "validation",
        "test",
        "train_cold_items",
        "validation_cold_items",
        "test_cold_items",
    )
