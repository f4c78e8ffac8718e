"""How long `gmeta evaluate` takes on a synthetic log of 650,000 ratings, baselines and curve
included.

    python scripts/benchmarks/evaluate.py
    python scripts/benchmarks/evaluate.py --ratings 65000 --json /tmp/evaluate.json

Ratings follow a model of rank four of 10,000 users and 4,000 items; items are drawn as in life
(Zipf). The run has been trained for one epoch.
"""

import json
import pathlib
import tempfile
import time

import jsonargparse
import numpy as np
import pyarrow
from pyarrow import parquet

from gmeta_tf.cli.main import main as gmeta
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.tables import tables
from gmeta_tf.schema import Categorical, Schema

A_USER, ITEMS, RANK = 65, 4_000, 4
SCHEMA = Schema("user_id", "click", (Categorical("item_id"), Categorical("genre")))


def main():
    """Measures, and prints the figure."""
    parser = jsonargparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=int, default=650_000, help="samples of the log")
    parser.add_argument("--partitions", type=list[str], default=["train"], help="beside test")
    parser.add_argument("--json", type=str | None, help="file for the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        write_log(folder / "log.parquet", users=options.ratings // A_USER)
        source = tables(Files(str(folder / "log.parquet")), SCHEMA, order_by=("time",))
        split = Split(query=10, support=A_USER - 10, fractions=(0.8, 0.1, 0.1))
        prepare(source, folder / "data", split=split)
        run = ["--run", str(folder / "run")]
        gmeta(["train", "--data", str(folder / "data"), *run, "--epochs", "1"])
        began = time.perf_counter()
        gmeta(["evaluate", *run, "--partitions", json.dumps(options.partitions)])
        seconds = time.perf_counter() - began
    name = f"evaluate_{options.ratings // 1000}k_seconds"
    result = {"figures": {name: round(seconds, 1)}, "partitions": ["test", *options.partitions]}
    print(json.dumps(result))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


def write_log(path: pathlib.Path, *, users: int):
    """Writes one Parquet file of ratings as clicks, `A_USER` a user."""
    draw = np.random.default_rng(0)
    chances = 1 / np.arange(1, ITEMS + 1)
    chances /= chances.sum()
    item = np.stack(  # without replacement, by Gumbel's trick
        [
            np.argpartition(-np.log(chances) - draw.gumbel(size=ITEMS), A_USER)[:A_USER]
            for _ in range(users)
        ]
    )
    of_users, of_items = draw.normal(size=(users, 1, RANK)), draw.normal(size=(ITEMS, RANK))
    logits = draw.normal(size=ITEMS)[item] + (of_users * of_items[item]).sum(-1)
    click = draw.random(item.shape) < 1 / (1 + np.exp(-logits))
    user, moment = np.indices(item.shape)
    columns = {
        "user_id": np.char.add("u", user.ravel().astype(str)),
        "item_id": np.char.add("i", item.ravel().astype(str)),
        "genre": np.char.add("g", (item.ravel() % 20).astype(str)),
        "time": moment.ravel(),
        "click": click.ravel().astype(np.int64),
    }
    parquet.write_table(pyarrow.table(columns), path)


if __name__ == "__main__":
    main()
