"""`gmeta plan`."""

import json
import re

import pytest
import yaml

from gmeta_tf.cli.main import main
from gmeta_tf.cli.plan import doubled
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.planning.calibration import Calibration, Line, MeasuredStep
from gmeta_tf.planning.cluster import Cluster
from gmeta_tf.planning.job import make_job
from gmeta_tf.planning.memory import memory
from gmeta_tf.schema import Categorical, Schema

SIZES = ["--support", "16", "--query", "16"]


@pytest.fixture
def schema(tmp_path):
    """A YAML schema of two tables."""
    made = Schema(
        "user",
        "click",
        (Categorical("user"), Categorical("item")),
        tables={"user": 10**7, "item": 50_000},
    )
    made.save(tmp_path / "schema.yaml")
    return tmp_path / "schema.yaml"


@pytest.fixture
def plan(tmp_path, capsys):
    """Runs the command; returns its numbers and what it printed."""

    def run(*arguments):
        main(["plan", *map(str, arguments), "--json", str(tmp_path / "plan.json")])
        return json.loads((tmp_path / "plan.json").read_text()), " ".join(
            capsys.readouterr().out.split()
        )

    return run


def test_help(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["plan", "--help-all"])
    text = capsys.readouterr().out
    for option in (
        "--experiment CONFIG",
        "--cluster.inter.latency_us",
        "--grid",
        "--picture",
        "--calibration",
        "--zipf",
        "--schema",
    ):
        assert option in text
    assert "a model's, not a measurement" in text


def test_the_papers_grid_is_the_default(schema, plan):
    made, printed = plan("--schema", schema, *SIZES, "--tasks_a_rank", 64)
    assert [each["cluster"] for each in made] == ["1x4", "2x4", "4x4", "8x4"]
    assert [each["tasks_a_rank"] for each in made] == [64] * 4
    assert printed.startswith("A model, not a measurement")
    assert made[0]["efficiency"] > made[-1]["efficiency"]
    assert made[0]["samples_per_second"] < made[-1]["samples_per_second"]


def test_a_prior_strength_takes_no_time(schema, plan):
    own = ("--schema", schema, *SIZES, "--grid", "1x1")
    plain, _ = plan(*own)
    assert plan(*own, "--experiment.prior_strength", 5)[0] == plain


def test_a_global_batch_is_shared(schema, plan):
    made, _ = plan(
        "--schema", schema, *SIZES, "--experiment.global_batch_tasks", 64, "--grid", "1x1", "2x8"
    )
    assert [(each["cluster"], each["tasks_a_rank"]) for each in made] == [("1x1", 64), ("2x8", 4)]
    assert made[0]["efficiency"] == 1


def test_nodes_are_doubled():
    assert doubled(Cluster()) == [(1, 4), (2, 4), (4, 4), (8, 4)]
    assert doubled(Cluster(nodes=6, devices=2)) == [(1, 2), (2, 2), (4, 2), (6, 2)]
    assert doubled(Cluster(nodes=1, devices=3)) == [(1, 3)]


def test_prepared_data_and_an_experiment(tiny, plan, tmp_path):
    experiment = {
        "data": str(tiny),
        "tower": "mlp",
        "top": [8],
        "embedding_dim": 4,
        "global_batch_tasks": 8,
        "adapt": "all",
    }
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    made, printed = plan(
        "--experiment",
        tmp_path / "experiment.yaml",
        "--experiment.embedding_dim",
        6,
        "--grid",
        "1x2",
    )
    assert "4 tasks of 6 + 3 samples" in printed  # the sizes of the data
    job = make_job(
        Manifest.load(tiny).schema,
        tower="mlp",
        dim=6,
        bottom=(),
        top=(8,),
        support=6,
        query=3,
        tasks=4,
        adapt="all",
        inner_steps=3,
    )
    assert made[0]["memory_bytes"]["rows"] == memory(job, ranks=2).rows
    assert made[0]["memory_bytes"]["activations"] == memory(job, ranks=2).activations


def test_options_of_cross_layers_reach_the_tower(tiny, plan):
    experiment = {
        "data": tiny,
        "tower": "dcn",
        "top": "[8]",
        "embedding_dim": 4,
        "cross_layers": 3,
        "cross_rank": 2,
    }
    _, printed = plan(
        *(f"--experiment.{name}={value}" for name, value in experiment.items()), "--grid", "1x2"
    )
    schema = Manifest.load(tiny).schema
    width = 4 * len(schema.id_features) + len(schema.numeric_features)
    assert f" {3 * (2 * 2 * width + width) + (width + 1) * 8 + 9:,} dense weights" in printed


def test_joint_training_has_no_support(tiny, plan):
    _, printed = plan("--experiment.data", tiny, "--experiment.method", "joint", "--grid", "1x2")
    assert "16 tasks of 0 + 9 samples" in printed


def test_a_described_cluster(schema, plan, tmp_path):
    cluster = {
        "nodes": 3,
        "devices": 2,
        "inter": {"latency_us": 50, "gigabytes_per_second": 0.1},
        "device": {"memory_gib": 0.5},
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    arguments = (
        "--schema",
        schema,
        *SIZES,
        "--tasks_a_rank",
        64,
        "--cluster",
        tmp_path / "cluster.yaml",
    )
    slow, printed = plan(*arguments)
    assert [each["cluster"] for each in slow] == ["1x2", "2x2", "3x2"]
    assert [each["fits"] for each in slow] == [False, True, True]
    assert "│ NO │" in printed
    fast, _ = plan(*arguments, "--cluster.inter.gigabytes_per_second", 10)
    assert fast[-1]["efficiency"] > slow[-1]["efficiency"]
    assert fast[0]["efficiency"] == slow[0]["efficiency"]  # one node


ENGINE = [
    f"--experiment.{option}"
    for option in ("wire_dtype=bfloat16", "row_optimizer=rowwise_adagrad", "task_chunk=16")
]


def test_options_of_the_engine(schema, plan):
    base, others = (
        plan("--schema", schema, *SIZES, "--tasks_a_rank", 64, "--grid", "2x4", *more)[0][0]
        for more in (
            (),
            (*ENGINE, "--zipf", 1.05, "--optimizer", "sgd"),
        )
    )
    assert others["sent_bytes"]["rows"] < base["sent_bytes"]["rows"] / 2
    assert others["sent_bytes"]["keys"] < base["sent_bytes"]["keys"]
    assert others["memory_bytes"]["row_slots"] == base["memory_bytes"]["row_slots"] / 16
    assert others["memory_bytes"]["activations"] == base["memory_bytes"]["activations"] / 4
    assert others["memory_bytes"]["dense"] == base["memory_bytes"]["dense"] / 3
    placed, _ = plan(
        "--schema", schema, *SIZES, "--grid", "2x4", "--experiment.placement", "{item: replicated}"
    )
    assert placed[0]["sent_bytes"]["allreduce"] > 50_000 * 16 * 4


def test_a_calibration(schema, plan, tmp_path):
    lines = {"alltoall": Line(0.001, 1e9), "allreduce": Line(0.002, 1e9), "packing": Line(0.0, 1e9)}
    Calibration("two cores", (MeasuredStep("small", 1e9, 0.01, 0.012),), overlap=0.0, **lines).save(
        tmp_path / "made.yaml"
    )
    made, printed = plan(
        "--schema",
        schema,
        *SIZES,
        "--tasks_a_rank",
        64,
        "--grid",
        "1x2",
        "--calibration",
        tmp_path / "made.yaml",
    )
    assert "Calibrated on two cores" in printed
    assert made[0]["step_seconds"]["latency"] == pytest.approx(3 * 0.001 + 0.002)


def test_the_picture(schema, plan, tmp_path):
    plan("--schema", schema, *SIZES, "--picture", tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "plan.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            r"support and query must be given with a schema. Received: support=None, query=None. Add --support 16 --query 16.",
        ),
        ([*SIZES, "--tasks_a_rank", "0"], r"tasks must be above 0. Received: tasks=0."),
        (
            [*SIZES, "--grid", "4"],
            r"grid must hold shapes NODESxDEVICES. Received: grid='4'. Write 2x4",
        ),
        (
            [*SIZES, "--experiment.row_optimizer", "lamb"],
            r"row_optimizer must be one of \('sgd', .*Received: row_optimizer='lamb'.",
        ),
        (
            [*SIZES, "--experiment.tower", "cnn"],
            r"tower must be one of \('dlrm', .*'wide_deep'\). Received: tower='cnn'.",
        ),
        (
            [*SIZES, "--experiment.adapt", "head+shop"],
            r"adapt must be one of .*with or without tables.*Received: adapt='head\+shop'.",
        ),
        ([*SIZES, "--cluster.overlap", "2"], r"overlap must lie in \[0, 1\]. Received: overlap=2"),
        ([*SIZES, "--calibration", "nothing.yaml"], r"nothing.yaml"),
    ],
)
def test_bad_options_end_it(arguments, message, schema, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["plan", "--schema", str(schema), *arguments])
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
