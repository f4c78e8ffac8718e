"""`gmeta export`, from a run's checkpoint."""

import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.cli.main import main
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.training import checkpoint
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.experiment import Experiment, build_model


@pytest.fixture
def run(tiny, tmp_path):
    """A run of a model whose averages are another's weights: (folder, that other model)."""
    experiment = Experiment(
        data=str(tiny),
        run=str(tmp_path / "run"),
        tower="mlp",
        top=(4,),
        embedding_dim=3,
        inner_steps=1,
    )
    manifest = Manifest.load(tiny)
    model, other = (build_model(experiment, manifest.schema) for _ in range(2))
    average = AverageWeights(model, 0.5)
    for variable, averaged in zip(
        [*other.tower.variables, *other.embedding.shards],
        [*average.dense, *average.shards],
        strict=True,
    ):
        variable.assign(variable + 0.1)
        averaged.assign(variable)
    checkpoint.save(
        tmp_path / "run" / "checkpoints", model, step=1, pointers=("last", "best"), state={}
    )
    experiment.save(manifest)
    return tmp_path / "run", other


def test_the_averages_of_a_run_are_served(run, tmp_path, capsys):
    folder, other = run
    main(["export", "--run", str(folder), "--out", str(tmp_path / "served"), "--support_size", "9"])
    assert (
        capsys.readouterr().out == f"{tmp_path / 'served'}: signatures predict, adapt_and_predict\n"
    )
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    served = loaded.signatures["adapt_and_predict"]
    assert set(loaded.signatures) == {"predict", "adapt_and_predict", "serving_default"}
    columns = {
        "user": [1] * 9,
        "item": range(9),
        "shop": [0, 1, 2] * 3,
        "tags": [[1, 2]] * 9,
        "price": [0.5] * 9,
    }
    clicked = columns | {"click": [0, 1, 1] * 3}
    support, query = (
        other.schema.pack(clicked),
        other.schema.pack({name: list(values)[:2] for name, values in columns.items()}),
    )
    parts = {
        "support_ids": support["ids"],
        "support_numeric": support["numeric"],
        "support_label": support["label"],
    }
    parts |= {"query_ids": query["ids"], "query_numeric": query["numeric"]}
    scores = served(**{name: tf.constant(values) for name, values in parts.items()})["logits"]
    np.testing.assert_allclose(
        scores, other.adapt(clicked).predict(columns)[:2], rtol=1e-4, atol=1e-6
    )


def test_tables_too_large_are_told_before_the_model_is_made(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "gmeta_tf.cli.export.load_run", lambda *_, **__: pytest.fail("the model was made")
    )
    with pytest.raises(SystemExit, match=r"^2$"):
        main(
            [
                "export",
                "--run",
                str(run[0]),
                "--out",
                str(tmp_path / "served"),
                "--max_table_gib",
                "1e-8",
            ]
        )
    assert capsys.readouterr().err.startswith(
        "gmeta export: tables must fit into one process, within max_table_gib=1e-08. Received: "
    )
    assert not (tmp_path / "served").exists()
