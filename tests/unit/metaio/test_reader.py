"""The reader: what a global batch holds depends on (seed, epoch, k) alone."""

import itertools
import json
import shutil

import jobs
import numpy as np
import pytest

from gmeta_tf import Reader
from gmeta_tf._tensorflow import tf

BATCH = 8


def tasks_of(batches):
    """Per batch, the sorted contents of its real tasks (support and query samples as bytes)."""
    made = []
    for support, query in batches:
        real = query["weight"].numpy().any(1)
        keys = [
            b"".join(
                np.asarray(part[name])[t].tobytes()
                for part in (support, query)
                for name in ("ids", "numeric", "label", "weight")
            )
            for t in np.flatnonzero(real)
        ]
        made.append(sorted(keys))
    return made


def global_batches(folder, size, steps, *, epoch=0, step=0, **options):
    """Real tasks of each global batch from a position on, put together from `size` readers."""
    readers = [
        Reader(folder, "train", global_batch_tasks=BATCH, rank=r, size=size, seed=5, **options)
        for r in range(size)
    ]
    per_rank = [tasks_of(reader.stream(epoch=epoch, step=step).take(steps)) for reader in readers]
    return [sorted(sum(parts, [])) for parts in zip(*per_rank, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "cold_rate": 0.5,
            "cold_rates": {"item": 0.3, "tags": 0.5},
            "redraw": True,
            "size_window": 2,
            "fewer_support": 0.5,
        },
    ],
)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_global_batch_is_the_same_for_any_number_of_ranks(tiny, size, options):
    steps = 2 * Reader(tiny, "train", global_batch_tasks=BATCH).steps_per_epoch
    assert global_batches(tiny, size, steps, **options) == global_batches(tiny, 1, steps, **options)


def test_every_task_comes_once_an_epoch_in_an_order_of_its_own(tiny):
    reader = Reader(tiny, "train", global_batch_tasks=BATCH, seed=5)
    steps = reader.steps_per_epoch
    batches = global_batches(tiny, 1, 2 * steps)
    first, second = sum(batches[:steps], []), sum(batches[steps:], [])
    assert len(first) == len(set(first)) == reader.tasks
    assert sorted(first) == sorted(second)
    assert batches[0] != batches[steps]
    tf.random.set_seed(77)  # a user's global seed does not mix in
    assert global_batches(tiny, 1, 2 * steps) == batches


def test_a_stream_goes_on_from_any_position(tiny):
    reader = Reader(tiny, "train", global_batch_tasks=BATCH, seed=5, cold_rate=0.5, redraw=True)
    whole = tasks_of(reader.stream().take(3 * reader.steps_per_epoch))
    assert (
        tasks_of(reader.stream(epoch=1, step=1).take(3)) == whole[reader.steps_per_epoch + 1 :][:3]
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_epoch_begun_at_one_size_ends_at_another(tiny, size):
    reader = Reader(tiny, "train", global_batch_tasks=BATCH)
    steps, begun = reader.steps_per_epoch, 2
    whole = global_batches(tiny, 2, 2 * steps, cold_rate=0.5)
    rest = global_batches(tiny, size, steps - begun, epoch=1, step=begun, cold_rate=0.5)
    assert rest == whole[steps + begun :]
    seen = list(itertools.chain(*whole[steps:][:begun], *rest))
    assert len(seen) == len(set(seen)) == reader.tasks


def test_a_pass_has_a_known_cardinality_and_static_shapes(tiny):
    reader = Reader(tiny, "test", global_batch_tasks=BATCH)
    dataset = reader.dataset()
    assert int(dataset.cardinality()) == reader.steps_per_epoch == len(list(dataset))
    support, query = dataset.element_spec
    assert (support["ids"].shape, query["ids"].shape) == ((8, 6, 6), (8, 3, 6))
    assert reader.stream().cardinality() == tf.data.INFINITE_CARDINALITY


def test_fewer_support_samples_are_the_most_recent(tiny):
    full, _ = next(iter(Reader(tiny, "test", global_batch_tasks=BATCH).dataset()))
    cut, _ = next(iter(Reader(tiny, "test", global_batch_tasks=BATCH, max_support=2).dataset()))
    lengths = full["weight"].numpy().sum(1).astype(int)
    for t, length in enumerate(lengths):
        np.testing.assert_array_equal(
            cut["ids"][t][: min(2, length)], full["ids"][t][max(0, length - 2) : length]
        )


def test_joined_queries_hold_the_samples_of_both_sets(tiny):
    plain, joined = (
        Reader(tiny, "train", global_batch_tasks=BATCH, seed=5, joined=flag, fewer_support=fewer)
        for flag, fewer in ((False, 0), (True, 0.5))
    )
    for (support, query), (same, both) in zip(
        plain.stream().take(2), joined.stream().take(2), strict=True
    ):
        for name in query:
            np.testing.assert_array_equal(same[name], support[name])
            np.testing.assert_array_equal(both[name], tf.concat([support[name], query[name]], 1))


def test_redrawn_sets_hold_the_tasks_samples(tiny):
    plain, redrawn = (
        Reader(tiny, "train", global_batch_tasks=BATCH, seed=5, redraw=flag)
        for flag in (False, True)
    )
    for one, other in zip(plain.stream().take(3), redrawn.stream().take(3), strict=True):
        for t in range(BATCH):
            contents = [
                sorted(
                    row.tobytes()
                    for part in sets
                    for row, w in zip(
                        part["ids"][t].numpy(), part["weight"][t].numpy(), strict=True
                    )
                    if w
                )
                for sets in (one, other)
            ]
            assert contents[0] == contents[1]
            assert other[1]["weight"][t].numpy().sum() == min(3, len(contents[0]))


def test_some_tasks_keep_the_first_of_their_support_samples(tiny):
    plain, fewer = (
        Reader(tiny, "train", global_batch_tasks=BATCH, seed=5, fewer_support=rate)
        for rate in (0, 0.5)
    )
    lengths = []
    for one, other in zip(plain.stream().take(20), fewer.stream().take(20), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one[1], other[1])
        there = other[0]["weight"].numpy() > 0
        assert (there[:, :-1] >= there[:, 1:]).all()
        for name, part in one[0].items():
            np.testing.assert_array_equal(other[0][name].numpy()[there], part.numpy()[there])
            assert len(np.unique(other[0][name].numpy()[~there])) <= 1  # as the place of no sample
        lengths += [*zip(one[0]["weight"].numpy().sum(1), there.sum(1), strict=True)]
    kept = np.array([kept for length, kept in lengths if length == 6])
    assert 0.4 < np.mean(kept == 6) < 0.7  # half of them, and a seventh of the others
    assert set(kept) == set(range(7))
    again = next(iter(fewer.stream(epoch=1)))[0]["weight"].numpy().sum(1)
    assert (again != next(iter(fewer.stream(epoch=2)))[0]["weight"].numpy().sum(1)).any()


def test_tasks_of_like_size_go_together(tiny):
    spread, seen = {}, []
    for window in (0, 4):
        reader = Reader(tiny, "train", global_batch_tasks=BATCH, seed=5, size_window=window)
        batches = list(reader.stream().take(reader.steps_per_epoch))
        sizes = [(s["weight"].numpy().sum(1) + q["weight"].numpy().sum(1)) for s, q in batches]
        spread[window] = np.mean([own[own > 0].std() for own in sizes])
        seen.append(sorted(sum(tasks_of(batches), [])))
    assert seen[0] == seen[1]
    assert len(seen[0]) == 30
    assert spread[4] < 0.5 * spread[0]


def test_bad_arguments(tiny):
    for name in ("prefetch", "size_window"):
        with pytest.raises(ValueError, match=rf"{name} must be at least 0. Received: {name}=-1"):
            Reader(tiny, "train", global_batch_tasks=8, **{name: -1})
    with pytest.raises(
        ValueError, match=r"fewer_support must lie in \[0, 1\]. Received: fewer_support=1.5"
    ):
        Reader(tiny, "train", global_batch_tasks=8, fewer_support=1.5)
    with pytest.raises(
        ValueError,
        match=r"partition must be one of \['test', 'train', 'validation'\]. Received: partition='dev'",
    ):
        Reader(tiny, "dev", global_batch_tasks=8)
    with pytest.raises(
        ValueError, match=r"global_batch_tasks must be a multiple of the 4 lanes of .*. Received: 6"
    ):
        Reader(tiny, "train", global_batch_tasks=6)
    with pytest.raises(
        ValueError,
        match=r"size must be at most the number of tasks, 30. Received: size=31. Start fewer ranks",
    ):
        Reader(tiny, "train", global_batch_tasks=8, size=31)
    with pytest.raises(
        ValueError, match=r"size must be at most the number of lanes, 4. Received: size=5"
    ):
        Reader(tiny, "train", global_batch_tasks=8, size=5)
    with pytest.raises(
        ValueError, match=r"max_support must be at least 0. Received: max_support=-1. Leave it out"
    ):
        Reader(tiny, "train", global_batch_tasks=8, max_support=-1)


def test_a_partition_without_tasks(tmp_path):
    jobs.tiny_data(tmp_path, tasks=4, fractions=(0.5, 0.5, 0.0))
    with pytest.raises(
        ValueError,
        match=r"partition must hold at least one task. Received: partition='test' of .*, which has none. Prepare",
    ):
        Reader(tmp_path / "data", "test", global_batch_tasks=4)


def damaged(tiny, folder, damage):
    """A copy of the data with its first training query file changed, of the same size."""
    shutil.copytree(tiny, folder / "copy")
    file = next((folder / "copy" / "train").glob("query-00000*"))
    file.write_bytes(damage(file))
    return folder / "copy"


@pytest.mark.parametrize("place", [0, 40, -1], ids=["length", "record", "checksum"])
def test_a_flipped_bit_is_found(tiny, tmp_path, place):
    def flip(file):
        contents = bytearray(file.read_bytes())
        contents[place] ^= 1
        return contents

    flipped = damaged(tiny, tmp_path, flip)
    message = r"query-00000-of-00004.tfrecord must hold \d whole records, as its manifest says. Received: fewer \(damaged"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(Reader(flipped, "train", global_batch_tasks=8).dataset())


def with_manifest(tiny, folder, change):
    """A copy of the data whose manifest was changed in place by `change`."""
    shutil.copytree(tiny, folder / "copy")
    file = folder / "copy" / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    return folder / "copy"


def test_queries_of_other_tasks_are_found(tiny, tmp_path):
    def swap(manifest):
        (one,), (other,) = manifest["partitions"]["train"][:2]
        one["query"], other["query"] = other["query"], one["query"]
        one["bytes"][1], other["bytes"][1] = other["bytes"][1], one["bytes"][1]

    data = with_manifest(tiny, tmp_path, swap)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"support and query must hold the same tasks in the same order. Received: ",
    ):
        list(Reader(data, "train", global_batch_tasks=8).dataset())


def with_more_tags(manifest):
    manifest["schema"]["features"][3]["max_length"] += 1


def with_another_number(manifest):
    manifest["schema"]["features"].append({"kind": "numeric", "name": "weight"})


@pytest.mark.parametrize("change", [with_more_tags, with_another_number])
def test_records_of_another_schema_are_found(tiny, tmp_path, change):
    data = with_manifest(tiny, tmp_path, change)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"records must fit the schema of their manifest. Received: other lengths in ",
    ):
        list(Reader(data, "train", global_batch_tasks=8).dataset())


def test_a_truncated_file_is_found(tiny, tmp_path):
    short = damaged(tiny, tmp_path, lambda file: file.read_bytes()[:-7])
    with pytest.raises(
        ValueError,
        match=r"query-00000.* must have \d+ bytes, as its manifest says. Received: \d+ bytes \(truncated",
    ):
        Reader(short, "train", global_batch_tasks=8)


def test_nothing_tunes_itself(tiny):
    """The thread that would do so holds up the end of every `fit` and `evaluate`."""
    reader = Reader(tiny, "train", global_batch_tasks=BATCH)
    for data in (reader.stream(), reader.dataset(), reader.dataset(cached=True)):
        assert data.options().autotune.enabled is False
