"""Exports a model as a TensorFlow SavedModel, which serves without this library, without Horovod
and in one process.
"""

import contextlib
import dataclasses
import json

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.metaio.folder import NUMBER, Contents, join, whole_folder
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.models.base import MetaModel
from gmeta_tf.schema import Schema
from gmeta_tf.serving.served import ServedModel
from gmeta_tf.serving.tables import WholeTables, require_room

EXTRA = "assets.extra"  # where SavedModels keep what TensorFlow itself does not read
SIGNATURE = "signature.json"
SERVED_BY_DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
MAX_TABLE_GIB = 2.0
EXPORTED = Contents(
    "gmeta export",
    "saved_model.pb",
    (
        "fingerprint.pb",
        "keras_metadata.pb",
        "variables/variables.*",
        f"{EXTRA}/manifest.json",
        f"{EXTRA}/{SIGNATURE}",
        f"{EXTRA}/vocabulary-{NUMBER}.jsonl",
    ),
)


def export(
    model: MetaModel,
    out: str,
    *,
    manifest: Manifest,
    support_size: int | None = None,
    query_size: int | None = None,
    max_table_gib: float = MAX_TABLE_GIB,
    overwrite: bool = False,
):
    """Writes a SavedModel with the signatures `predict` and `adapt_and_predict`, which is also the
    default; it stands when it is whole.

    Beside it, in `assets.extra`: the order of features in a request (`signature.json`), and what
    encodes raw values, a manifest without task files, which `Manifest.load` reads.

    Collective, eager.

    Args:
      model: compiled; its present weights are exported. Those of a run are the averages where it
        has them (`training.evaluation.load_run`).
      out: folder to make.
      manifest: of the data that the model was trained on.
      support_size: the most samples of a request's support set; default: of the data's.
      query_size: the same of its query set.
      max_table_gib: the most memory for all rows.
      overwrite: replace what stands at `out`.

    Raises:
      ValueError: the tables are larger, the data has another schema, or a size is below 1.
      FileExistsError, NotADirectoryError, OSError: as `whole_folder`.
    """
    sizes = {
        "support_size": manifest.support_size if support_size is None else support_size,
        "query_size": manifest.query_size if query_size is None else query_size,
    }
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(
                f"{name} must be at least 1. Received: {name}={size}. Give the most samples of a "
                "request."
            )
    if manifest.schema != model.schema:
        raise ValueError(
            f"manifest must have the model's schema. Received: {manifest.folder}, with another. "
            "Give the data trained on."
        )
    embedding = model.embedding
    tables = [table for stack in embedding.stacks for table in stack.tables]
    require_room(tables, max_table_gib=max_table_gib, value_bytes=embedding.shards[0].dtype.size)
    num_bytes = 3 * sum(table.rows * table.dim for table in tables) * embedding.shards[0].dtype.size
    with (
        comm.watchdog.long_phase("exporting", num_bytes=num_bytes),
        contextlib.ExitStack() as place,
    ):
        folder = None
        with comm.alike("making the folder to export to"):
            if comm.rank() == 0:
                folder = place.enter_context(
                    whole_folder(out, contents=EXPORTED, overwrite=overwrite)
                )
        whole = WholeTables(embedding)
        with comm.alike("exporting"):
            if folder:
                served = ServedModel(model, whole, **sizes)
                default = {SERVED_BY_DEFAULT: served.functions["adapt_and_predict"]}
                tf.saved_model.save(served, folder, signatures=served.functions | default)
                _write_extra(join(folder, EXTRA), manifest, sizes)
            place.close()


def request_order(schema: Schema) -> dict[str, list[str]]:
    """The column at each place of a sample: of `ids`, the feature; of `numeric`, the feature or the
    weights of a slot.
    """
    weights = [
        feature.weights for feature in schema.weighted_features for _ in range(feature.slots)
    ]
    numeric = [feature.name for feature in schema.numeric_features]
    return {"ids": [feature.name for feature in schema.positions], "numeric": numeric + weights}


def _write_extra(folder, manifest, sizes):
    """What a caller needs to make requests."""
    tf.io.gfile.makedirs(folder)
    for table in manifest.tables.values():
        if table.file:
            tf.io.gfile.copy(join(manifest.folder, table.file), join(folder, table.file))
    dataclasses.replace(manifest, partitions={}, folder=folder).save()
    with tf.io.gfile.GFile(join(folder, SIGNATURE), "w") as file:
        file.write(json.dumps(request_order(manifest.schema) | sizes, indent=1) + "\n")
