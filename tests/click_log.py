"""A log of 108 clicks by 12 users, and what files made of it hold."""

import numpy as np

from gmeta_tf.metaio.contents import sets_of
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.source import Source
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

LOG = [  # (user, item, time, click, part, year): 12 users of 9 samples, items of three ages
    f"('u{user}', 'i{(user * 5 + moment) % 15}', {100 * user + moment}, {moment % 2}.0, "
    f"'{'query' if moment in (0, 4) else 'support'}', {1990 + (user * 5 + moment) % 15})"
    for user in range(12)
    for moment in range(9)
]
CLICKS = Schema("user", "click", (Categorical("user"), Categorical("item"), Numeric("time")))


def log(features=CLICKS.features, *, order_by=("time",), task="user"):
    sql = f"SELECT * FROM (VALUES {', '.join(LOG)}) AS log(user, item, time, click, part, year)"
    return Source(Schema(task, "click", tuple(features)), sql, order_by)


def times(folder, partition):
    """task -> the sorted moments of its support and its query set, from what files hold."""
    manifest, found = Manifest.load(folder), {}
    mean, deviation = manifest.numeric["time"]
    for shard in (shard for lane in manifest.partitions[partition] for shard in lane.shards):
        for support, query in sets_of(manifest, shard):
            for t, task in enumerate(support.task.tolist()):
                own = []
                for sets in (support, query):
                    first = sets.lengths[:t].sum()
                    own.append(
                        np.rint(sets.numeric[first : first + sets.lengths[t], 0] * deviation + mean)
                        .astype(int)
                        .tolist()
                    )
                found[task] = tuple(own)
    return found


def moments_of(sets):
    """The moments within each task, 0 … 8."""
    return sorted(
        (sorted(m % 100 for m in support), sorted(m % 100 for m in query))
        for support, query in sets.values()
    )


WEIGHTED = Schema(
    "user", "click", (Categorical("user"), MultiHot("tags", 3, weights="shares"), Numeric("time"))
)


def weighted(shares="[time / 2, 0.25, 3]"):
    return Source(
        WEIGHTED,
        f"SELECT *, [item, '', user] AS tags, {shares} AS shares FROM ({log().sql})",
        ("time",),
    )
