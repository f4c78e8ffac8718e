"""Rows that stand for values out of vocabulary and that no training step has moved."""

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.initial_rows import initial_rows
from gmeta_tf.job import comm
from gmeta_tf.metaio.manifest import Manifest

ROUNDING = 1e-5


def untrained_tables(model, manifest: Manifest) -> list[str]:
    """Tables whose rows for values out of vocabulary are as they began: what is new is scored by
    chance. Collective.

    Args:
      model: a `MetaModel`, after training.
      manifest: of the data that it was trained on.
    """
    embedding, moved = model.embedding, {}
    for stack, shard in zip(embedding.stacks, embedding.shards, strict=True):
        for table in stack.tables:
            count = manifest.tables[table.name].vocabulary.out_of_vocabulary
            if count:
                moved[table.name] = _moved(embedding, stack, shard, table, count)
    if not moved:
        return []
    (totals,) = comm.allreduce_sum([tf.constant(list(moved.values()))], name="moved_rows")
    return [name for name, total in zip(moved, totals.numpy(), strict=True) if not total]


def _moved(embedding, stack, shard, table, count) -> float:
    """How many of the first `count` rows of a table this rank keeps and has moved."""
    ids, place = partition.kept_ids(stack, table.name, rank=comm.rank(), size=comm.size())
    own = [i for i in ids[:count] if i < count]
    first = [
        rows
        for _, rows in initial_rows(
            own,
            dim=stack.dim,
            table=table.name,
            seed=embedding.seed,
            distribution=embedding.distribution,
        )
    ]
    if not first:
        return 0.0
    now = shard[place : place + len(own)].numpy()
    return float((~np.isclose(now, np.concatenate(first), rtol=ROUNDING, atol=0)).any(1).sum())
