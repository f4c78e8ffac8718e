"""Trains models of every tower by compiled steps, and tells how often XLA compiled: by then, and in
200 further steps.

XLA_FLAGS="--xla_dump_to=DUMP --xla_dump_hlo_as_text" python compilations_job.py TINY DUMP OUT
"""

import json
import pathlib
import sys

from gmeta_tf import (
    InnerLoop,
    MetaModel,
    Reader,
    RowAdagrad,
    RowAdam,
    RowFTRL,
    RowSGD,
    RowwiseAdagrad,
    comm,
)
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers import make_tower

BATCH, FIRST, MORE = 8, 40, 200
CASES = {
    "mlp": (RowSGD(0.1), {"inner_loop": InnerLoop(2, 0.1, adapt="all")}),
    "dlrm": (RowAdagrad(0.1), {"inner_loop": InnerLoop(1, 0.1), "sizes": (2,)}),
    "dcn": (
        RowAdam(0.01),
        {"inner_loop": InnerLoop(2, 0.1, adapt="head", rule="newton"), "loss": "mse"},
    ),
    "deepfm": (
        RowwiseAdagrad(0.1),
        {"inner_loop": InnerLoop(2, 0.1, rates="per_step"), "loss": "pairwise"},
    ),
    "wide_deep": (
        RowFTRL(0.1),
        {"inner_loop": InnerLoop(1, 0.1, adapt="all", reptile=True), "loss": "mse"},
    ),
}


def compilations(dump):
    """How many programs XLA has compiled in this process."""
    return len(list(dump.glob("*before_optimizations.txt")))


def main(tiny, dump, out):
    """Trains every case, and writes {case: [compilations in the first steps, in the rest]}."""
    found = {}
    rank, size = comm.rank(), comm.size()
    data = Reader(
        tiny,
        "train",
        global_batch_tasks=BATCH,
        redraw=True,
        fewer_support=0.5,
        size_window=2,
        rank=rank,
        size=size,
    )
    for name, (row_optimizer, options) in CASES.items():
        tower = make_tower(name, dim=4, bottom=(4,), top=(6,))
        model = MetaModel(data.schema, tower, embedding_dim=4, replicate_rows=0)
        model.compile("adam", row_optimizer=row_optimizer, jit_compile=True, **options)
        counts = [compilations(dump)]
        for steps in (FIRST, MORE):
            model.fit(data.stream(), steps_per_epoch=steps, verbose=0)
            counts.append(compilations(dump))
        found[name] = [counts[1] - counts[0], counts[2] - counts[1]]
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    folder, dumped, result = map(pathlib.Path, sys.argv[1:])
    tf.keras.utils.set_random_seed(1)
    with comm.session():
        main(folder, dumped, result)
