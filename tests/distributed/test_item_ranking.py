"""Ranks that share the tasks rank as one that has them all; `test_ranks.py` runs this file on
2 and 3.
"""

import jobs
import pytest
import training_job

from gmeta_tf import Reader
from gmeta_tf.job import comm
from gmeta_tf.training.item_ranking import ItemRanking, of_model, rank_items


def test_shared_tasks_are_ranked_as_by_one_rank(tmp_path):
    data = jobs.tiny_data(tmp_path)  # the same on every rank
    own, all_tasks = (
        Reader(data, "train", global_batch_tasks=8, rank=rank, size=size)
        for rank, size in ((comm.rank(), comm.size()), (0, 1))
    )
    model = training_job.build(own.schema, "all_rows_adapt")
    for shard in model.embedding.shards:
        shard.assign(20 * shard)  # rows large enough to matter
    scorers = [of_model(model, before="before", after="after")]
    ranking = ItemRanking("item", k=(3, 5))
    together, alone = (rank_items(ranking, r, "train", scorers)[0] for r in (own, all_tasks))
    for row, values in alone.items():
        counted = values.pop("items_tasks")  # each rank has all tasks
        assert together[row].pop("items_tasks") * comm.size() == counted
        assert together[row] == pytest.approx(values, rel=1e-12)
        assert 0 < values["items_recall_at_5"] < 1
