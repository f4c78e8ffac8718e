"""Starts jobs as users do, with a time limit, and tiny data for them."""

import contextlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import psutil

from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.source import Source
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

HERE = pathlib.Path(__file__).parent
SCHEMA = Schema(
    task="user",
    label="click",
    features=(
        Categorical("user"),
        Categorical("item"),
        Categorical("shop"),
        MultiHot("tags", max_length=3),
        Numeric("price"),
    ),
)


def command(ranks, *arguments):
    """Plain python for one rank, horovodrun for more."""
    python = [sys.executable, *map(str, arguments)]
    if ranks == 1:
        return python
    return [str(pathlib.Path(sys.executable).parent / "horovodrun"), "-np", str(ranks), *python]


def environment(**extra):
    """That of a user's shell, with one thread a rank: two cores are shared by all ranks."""
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": path,
        "PYTHONPATH": f"{HERE.parent}:{HERE}:{HERE}/equivalence",
    }
    return os.environ | quiet | {name: str(value) for name, value in extra.items()}


def run(ranks, *arguments, seconds=240, **extra):
    """Runs a job to its end.

    Returns:
      (exit code, what it printed on both streams). After `seconds` the whole job is killed, and the
      test fails.
    """
    job = start(ranks, *arguments, **extra)
    try:
        output, _ = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(job)
        output, _ = job.communicate()
        raise AssertionError(f"the job did not end within {seconds} s:\n{output[-3000:]}") from None
    return job.returncode, output


def kill(job):
    """Kills a job with all its ranks, which horovodrun starts in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
        for process in [*psutil.Process(job.pid).children(recursive=True), job]:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()


def start(ranks, *arguments, **extra):
    """Starts a job in a process group of its own."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        command(ranks, *arguments),
        env=environment(**extra),
        start_new_session=True,
        cwd=HERE.parent,
        **pipe,
    )


def succeed(ranks, *arguments, **extra):
    """Runs a job that has to end well; returns what it printed."""
    code, output = run(ranks, *arguments, **extra)
    assert code == 0, output[-5000:]
    return output


def tiny_source(folder, *, tasks=37, seed=0, shops=2):
    """A made-up log: `tasks` users with 5 to 20 clicks each, more than one id of each kind rare."""
    draw = np.random.default_rng(seed)
    lines = ["user,item,shop,tags,price,time,click"]
    for user in range(tasks):
        for moment in range(draw.integers(5, 21)):
            item = int(draw.zipf(1.5)) % 50
            tags = " ".join(
                f"t{tag}" for tag in sorted(draw.choice(7, draw.integers(0, 4), replace=False))
            )
            lines.append(
                f"u{user},i{item},s{draw.integers(0, shops)},{tags},{draw.normal(10, 3):.3f},{moment},{int(draw.random() < 0.5)}"
            )
    file = pathlib.Path(folder) / "log.csv"
    file.write_text("\n".join(lines))
    sql = f"""SELECT "user", item, shop, string_split(coalesce(tags, ''), ' ') AS tags, price::DOUBLE AS price, time::INT AS time,
                     click::DOUBLE AS click FROM read_csv('{file}', header=true, all_varchar=true)"""
    return Source(schema=SCHEMA, sql=sql, order_by=("time",))


def tiny_data(folder, *, lanes=4, fractions=(0.8, 0.1, 0.1), **options):
    """Prepared folder of `tiny_source`: queries of up to 3 samples, supports of up to 6."""
    folder = pathlib.Path(folder)
    split = Split(query=3, support=6, fractions=fractions)
    prepare(tiny_source(folder, **options), folder / "data", split=split, lanes=lanes)
    return folder / "data"
