"""Exported models load where there is nothing but TensorFlow."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_model import make

from gmeta_tf import Manifest
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema
from gmeta_tf.serving.export import export, request_order

RAW = {
    "user": ["u1", "u1", "unheard of"],
    "item": ["i1", "i2", "i1"],
    "shop": ["s0", "s1", None],
    "tags": [["t1", "t2"], [], "t0"],
    "price": [9.5, None, 11.0],
}
CLICKS = [1, 0, 1]
WITHOUT_US = """
import sys
for name in ("gmeta_tf", "horovod", "tensorflow_recommenders", "tf_keras", "keras"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
folder, requests, scores = sys.argv[1:]
served = tf.saved_model.load(folder).signatures["adapt_and_predict"]
found = served(**{name: tf.constant(value) for name, value in np.load(requests).items()})
np.save(scores, found["logits"].numpy())
"""


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    """(model, folder of its export)."""
    manifest = Manifest.load(tiny)
    model, folder = make(manifest), tmp_path_factory.mktemp("served") / "1"
    export(model, str(folder), manifest=manifest, query_size=4)
    return model, folder


def test_it_serves_without_this_library(exported, tmp_path):
    model, folder = exported
    columns = Manifest.load(folder / "assets.extra").encode(
        RAW
    )  # as a caller does, without the data
    support = {name: values[:2] for name, values in columns.items()} | {"click": CLICKS[:2]}
    parts = {"support": model.schema.pack(support), "query": model.schema.pack(columns)}
    requests = {
        f"{part}_{name}": packed[name]
        for part, packed in parts.items()
        for name in ("ids", "numeric")
    }
    np.savez(tmp_path / "requests.npz", support_label=parts["support"]["label"], **requests)
    command = [
        sys.executable,
        "-c",
        WITHOUT_US,
        folder,
        tmp_path / "requests.npz",
        tmp_path / "scores.npy",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_allclose(
        np.load(tmp_path / "scores.npy"),
        model.adapt(support).predict(columns),
        rtol=1e-4,
        atol=1e-6,
    )


def test_callers_find_how_to_encode(exported, tiny):
    _, folder = exported
    manifest = Manifest.load(tiny)
    assert json.loads((folder / "assets.extra" / "signature.json").read_text()) == {
        "ids": ["user", "item", "shop", "tags", "tags", "tags"],
        "numeric": ["price"],
        "support_size": 6,
        "query_size": 4,
    }
    kept = Manifest.load(folder / "assets.extra")
    assert (kept.vocabularies, kept.numeric, kept.schema, kept.partitions) == (
        manifest.vocabularies,
        manifest.numeric,
        manifest.schema,
        {},
    )


def test_weights_of_slots_stand_behind_numbers():
    features = (MultiHot("tags", 2, weights="shares"), Numeric("price"), Categorical("item"))
    assert request_order(Schema("item", "click", features)) == {
        "ids": ["item", "tags", "tags"],
        "numeric": ["price", "shares", "shares"],
    }


def test_what_stands_is_kept_unless_told(exported, tiny):
    model, folder = exported
    before = (folder / "fingerprint.pb").read_bytes()
    with pytest.raises(
        FileExistsError,
        match=r"^out must be new or empty. Received: .*Pass --overwrite to replace it.$",
    ):
        export(model, str(folder), manifest=Manifest.load(tiny))
    assert (folder / "fingerprint.pb").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_table_gib": 1e-9},
            r"^tables must fit into one process, within max_table_gib=1e-09. Received: .*user \(\d+ rows",
        ),
        (
            {"support_size": 0},
            r"^support_size must be at least 1. Received: support_size=0. Give the most samples of a request.$",
        ),
        ({"query_size": -1}, r"^query_size must be at least 1. Received: query_size=-1."),
    ],
)
def test_nothing_is_written_of_what_is_refused(options, message, exported, tiny, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(exported[0], str(tmp_path / "out"), manifest=Manifest.load(tiny), **options)
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_schema_is_refused(exported, tiny, tmp_path):
    manifest = Manifest.load(tiny)
    other = dataclasses.replace(manifest, schema=dataclasses.replace(manifest.schema, label="sale"))
    with pytest.raises(
        ValueError,
        match=r"^manifest must have the model's schema. Received: .*, with another. Give the data trained on.$",
    ):
        export(exported[0], str(tmp_path / "out"), manifest=other)
