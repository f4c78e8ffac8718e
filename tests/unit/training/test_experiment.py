"""An experiment's configuration, and the scripts that train and evaluate it."""

import dataclasses
import io
import json
import pathlib
import re

import jobs
import pytest
import yaml
from rich.console import Console

from gmeta_tf import DLRM, MLP, RowAdam
from gmeta_tf._tensorflow import tf
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.models.towers import TOWERS
from gmeta_tf.training.experiment import Experiment, build_model, placement_table

ROOT = pathlib.Path(jobs.HERE).parent


def test_a_configuration_survives_its_file(tmp_path, tiny):
    experiment = Experiment(run=str(tmp_path), top=[8, 4], inner_steps=7)
    experiment.save(Manifest.load(tiny))
    assert Experiment.load(tmp_path) == experiment
    with pytest.raises(
        FileNotFoundError,
        match=r"run must be the folder of a training. Received: .*nothing, without config.yaml",
    ):
        Experiment.load(tmp_path / "nothing")


def test_a_run_keeps_to_the_data_that_it_was_trained_on(tmp_path, tiny):
    experiment = Experiment(run=str(tmp_path), data="some/data")
    experiment.save(Manifest.load(tiny))
    experiment.require_same_data(Manifest.load(tiny))
    other = Manifest.load(jobs.tiny_data(tmp_path, seed=1))
    with pytest.raises(
        ValueError,
        match=r"^data must be what the run was trained on. Received: some/data, whose content has another digest",
    ):
        experiment.require_same_data(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "maml"}, "Received: method='maml'. It is a configuration: --config maml."),
        ({"model": "meta_sgd"}, "Received: model='meta_sgd'. It is a configuration: --config meta"),
        ({"method": "mamel"}, "Received: method='mamel'. Choose one."),
    ],
)
def test_the_name_of_a_configuration_is_told_as_one(options, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**options)


def test_a_run_is_resumed_with_its_configuration_but_for_learning_rates_and_lengths():
    before = Experiment(learning_rate=0.1)
    Experiment(learning_rate=0.1, epochs=9, patience=1).require_resumable(before)
    cosine = Experiment(schedule="cosine", patience=1)
    cosine.require_resumable(Experiment(schedule="cosine"))
    with pytest.raises(ValueError, match=r"Received: epochs=60, which was 9"):
        cosine.require_resumable(Experiment(schedule="cosine", epochs=9))
    Experiment(learning_rate=0.01, row_learning_rate=0.01, clip_norm=1.0).require_resumable(before)
    with pytest.raises(
        ValueError,
        match=r"configuration must be that of the run to resume, but for \('learning_rate', .*"
        r"Received: top=\(3,\), which was \(.*\). Give the same options",
    ):
        Experiment(learning_rate=0.1, top=(3,)).require_resumable(before)


def test_object_stores_are_refused_for_runs():
    with pytest.raises(
        ValueError,
        match=r"^run must lie in a file system that is mounted. Received: run='gs://b/r'",
    ):
        Experiment(run="gs://b/r", data="gs://b/d")


def test_scaled_losses_are_refused(tiny):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with pytest.raises(
            ValueError,
            match=r"Keras's policy must be float32 or mixed_bfloat16. Received: 'mixed_float16'",
        ):
            build_model(Experiment(), Manifest.load(tiny).schema)
    finally:
        tf.keras.mixed_precision.set_global_policy(None)


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "scripts" / "configs").glob("movielens_100k*.yaml")),
    ids=lambda file: file.stem,
)
def test_committed_configurations_are_valid(file):
    base = Experiment()
    options = yaml.safe_load(file.read_text())
    if file.stem.endswith("_space"):
        for name, values in options.items():
            [dataclasses.replace(base, **{name: value}) for value in values]
    else:
        assert Experiment(**options).method in ("meta", "joint")


def test_joint_training_has_no_inner_loop_but_in_fine_tuning():
    meta, joint = (
        yaml.safe_load((ROOT / f"scripts/configs/{name}.yaml").read_text())
        for name in ("movielens_100k", "methods/joint")
    )
    experiment = Experiment(**meta | joint)
    assert experiment.inner_loop.steps == 0
    assert experiment.adaptation == Experiment(**meta).inner_loop


def test_options_reach_the_model(tiny):
    schema = Manifest.load(tiny).schema
    options = {
        "row_optimizer": "adam",
        "schedule": "cosine",
        "clip_norm": 2.0,
        "task_chunk": 3,
        "wire_dtype": "bfloat16",
    }
    model = build_model(
        Experiment(replicate_rows=0, placement={"item": "replicated"}, **options), schema, steps=10
    )
    assert isinstance(model.embedding.row_optimizer, RowAdam)
    assert float(model.embedding.row_optimizer.learning_rate(5)) == pytest.approx(
        0.05
    )  # half of 0.1, half-way
    assert (model.options.clip_norm, model.options.task_chunk, model.embedding.wire_dtype) == (
        2.0,
        3,
        tf.bfloat16,
    )
    assert [
        table.name for stack in model.embedding.stacks if stack.replicated for table in stack.tables
    ] == ["item"]
    assert build_model(Experiment(mixed_precision=True), schema).tower.compute_dtype == "bfloat16"
    assert build_model(Experiment(), schema).tower.compute_dtype == "float32"
    tf.keras.backend.set_floatx("float64")  # which decides again for whatever is built after
    try:
        assert tf.keras.layers.Dense(1).compute_dtype == "float64"
    finally:
        tf.keras.backend.set_floatx("float32")
    for bad in ({"row_optimizer": "lamb"}, {"schedule": "linear"}):
        with pytest.raises(
            ValueError, match=r"(row_optimizer|schedule) must be one of \(.*\). Received: "
        ):
            Experiment(**bad)


def test_the_first_output_is_the_heads_bias(tiny):
    schema = Manifest.load(tiny).schema
    for tower in TOWERS:
        model = build_model(Experiment(data=str(tiny), tower=tower, first_output=3.5), schema)
        assert model.tower.head.bias.numpy().tolist() == [3.5]


def test_the_placement_of_tables_is_shown(tiny):
    console = Console(width=120, file=io.StringIO())
    console.print(
        placement_table(
            build_model(Experiment(placement={"item": "sharded"}), Manifest.load(tiny).schema)
        )
    )
    lines = console.file.getvalue().splitlines()
    assert any("item" in line and "sharded" in line for line in lines)
    assert any("user" in line and "replicated" in line for line in lines)


def test_towers_are_built_by_name(tiny):
    schema = Manifest.load(tiny).schema
    assert isinstance(build_model(Experiment(tower="dlrm"), schema).tower, DLRM)
    assert isinstance(build_model(Experiment(tower="mlp"), schema).tower, MLP)
    crossed = build_model(
        Experiment(
            tower="dcn", cross_layers=3, cross_rank=4, top=(7,), activation="tanh", dropout=0.5
        ),
        schema,
    ).tower
    assert [layer._projection_dim for layer in crossed.crosses] == [4, 4, 4]
    dense, dropout = crossed.hidden.layers
    assert (dense.units, dense.activation, dropout.rate) == (7, tf.keras.activations.tanh, 0.5)
    for name, value, least in (("cross_layers", 0, 1), ("cross_rank", -1, 0)):
        with pytest.raises(
            ValueError,
            match=rf"^{name} must be at least {least}\. Received: {name}={value}\. Leave it out for the default\.",
        ):
            Experiment(**{name: value})
    for name, value, rule in (
        ("embedding_dim", 0, "at least 1"),
        ("checkpoint_every_steps", -1, "at least 0"),
        ("learning_rate", float("nan"), "finite and at least 0"),
        ("average_decay", 1, r"in \[0, 1\)"),
        ("fewer_support", 2, r"in \[0, 1\]"),
        ("prior_strength", -1, "finite and at least 0"),
        ("prior_strength", float("nan"), "finite and at least 0"),
    ):
        with pytest.raises(
            ValueError,
            match=rf"^{name} must be {rule}\. Received: {name}={value}\. Leave it out for the default\.",
        ):
            Experiment(**{name: value})
    for options, message in (
        (
            {"loss": "mse", "metrics": "click"},
            r"metrics must fit the loss: one of \('rating', .*\) for 'mse'. Received: metrics='click'",
        ),
        (
            {"metrics": "liked"},
            r"metrics must fit the loss: one of \('click', 'ranking'\) for 'binary_crossentropy'. Received: metrics='liked'",
        ),
        (
            {"loss": "pairwise", "metrics": "rating"},
            r"metrics must fit the loss: .* for 'pairwise'. Received: metrics='rating'",
        ),
        (
            {"method": "joint", "model": "cbml"},
            r"method must be 'meta' for what an inner loop trains. Received: method='joint' with",
        ),
        (
            {"method": "joint", "rates": "per_step"},
            r"method must be 'meta' for what an inner loop trains. .* rates='per_step'",
        ),
        (
            {"method": "joint", "prior_strength": 5, "learn_prior": True},
            r"method must be 'meta' for what an inner loop trains. .* learn_prior=True",
        ),
        (
            {"rule": "newton", "adapt": "head", "prior_strength": 5},
            r"prior_strength must be 0 for rule 'newton', .* Received: 5",
        ),
        (
            {"model": "cbml", "rule": "newton", "adapt": "head"},
            r"adapt must be 'all' or 'dense', .* with model 'cbml', .* Received: adapt='head'",
        ),
        (
            {"model": "cbml", "inner_steps": 0},
            r"adapt must be 'all' or 'dense', in one step at least, .* inner_steps=0",
        ),
        (
            {"method": "joint", "reptile": True},
            r"adapt must be 'all' with reptile, which moves adapted weights only. Received: adapt='dense'",
        ),
        (
            {"inner_lr": 0, "reptile": True, "adapt": "all"},
            r"learning_rate must be finite and at least 0, and above it with reptile. Received: 0",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            Experiment(**options)
    assert Experiment(loss="pairwise").measured_by == "ranking"
    with pytest.raises(
        ValueError, match=r"tower must be one of \('dlrm', .*'wide_deep'\). Received: tower='cnn'"
    ):
        Experiment(tower="cnn")
    with pytest.raises(ValueError, match=r"adapt must be one of .*Received: adapt='x\+head'"):
        Experiment(adapt="x+head")
    with pytest.raises(
        ValueError, match=r"method must be one of \('meta', 'joint'\). Received: method='x'"
    ):
        Experiment(method="x")


def training_of(data, run):
    """A command that trains a small model."""
    small = ["--global_batch_tasks", 8, "--top", "[4]", "--embedding_dim", 4, "--epochs", 2]
    return ["scripts/train.py", "--data", data, *small, "--run", run]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The folder of a run that two ranks have trained."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert "ranks 2" in jobs.succeed(2, *training_of(tiny, run))
    return run


@pytest.mark.timeout(300)
def test_the_scripts_train_and_resume(tiny, finished, tmp_path):
    run, train = finished, training_of(tiny, finished)
    assert json.loads((run / "train.json").read_text())["epochs"] == 2
    assert (run / "history.csv").exists()
    assert list((run / "tensorboard").rglob("events*"))
    for options, message in (
        (
            [],
            r"gmeta train: run must be a new or empty folder. Received: .*Pass --overwrite or --resume.",
        ),
        (["--foo", 1], r"gmeta train: options must be known. Received: --foo"),
        (
            ["--data", tmp_path / "typo", "--overwrite"],
            r"gmeta train: data must be a folder that preparation completed",
        ),
    ):
        code, printed = jobs.run(1, *train, *options)
        assert code != 0
        assert re.search(message, printed), printed
        assert "Traceback" not in printed
    assert (run / "checkpoints" / "best").exists()  # whatever was refused destroyed nothing
    (run / "train.json").unlink()
    jobs.succeed(1, *train, "--resume")  # it is finished already, but for the summary
    jobs.succeed(1, *train, "--resume", "best", "--learning_rate", 0.0005, "--epochs", 3)
    assert "learning_rate: 0.0005" in (run / "config.yaml").read_text()
    assert json.loads((run / "train.json").read_text())["epochs"] == 3
    assert not (tmp_path / "typo").exists()


@pytest.mark.timeout(300)
def test_the_scripts_evaluate(tiny, finished, tmp_path):
    run = finished
    joint = ["--method", "joint", "--run", run / "joint", "--epochs", 1]
    jobs.succeed(1, *training_of(tiny, run), *joint)
    jobs.succeed(
        1,
        "scripts/evaluate.py",
        "--run",
        run,
        "--joint",
        run / "joint",
        "--partitions",
        "[validation]",
    )
    assert (run / "metrics_validation.json").exists()
    assert set(json.loads((run / "support_curve.json").read_text())["joint"]) == {
        "0",
        "1",
        "2",
        "5",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"ranks", "train_seconds", "samples_per_second"} < set(metrics)
    for row in (
        "item_popularity",
        "user_mean",
        "item_user_mean",
        "factorisation",
        "joint",
        "joint_finetuned",
        "meta_before",
        "meta_after",
    ):
        assert {"auc", "gauc", "logloss", "ndcg_at_5"} < set(metrics[row])
    assert (run / "picture.png").stat().st_size > 10_000
    for options, message in (
        (
            ["--run", tmp_path / "typo"],
            r"gmeta evaluate: run must be the folder of a finished training. Received: .*typo",
        ),
        (
            ["--run", run, "--item", "movie"],
            r"gmeta evaluate: item must be a categorical feature, one of .*Received: item='movie'",
        ),
    ):
        code, printed = jobs.run(1, "scripts/evaluate.py", *options)
        assert code != 0
        assert re.search(message, printed), printed
    assert not (tmp_path / "typo").exists()
    assert not (run / "error.txt").exists()  # evaluation leaves a finished run as it is
