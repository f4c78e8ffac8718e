"""Checkpoints: written by all ranks as one, loaded by any number of ranks.

A checkpoint is a folder `step-<n>`, renamed when whole. Rank r of N writes its part of each table
and slot as `<table>.<what>.<r>-of-<N>.npy`; rank 0 writes the dense weights and the outer optimizer
(`tf.train.Checkpoint`) and `checkpoint.json`. Small files beside the folders (`last`, `best`) hold
the name of one and are replaced atomically.
"""

import itertools
import json
import os
import pathlib
import shutil

import numpy as np

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.chunks import read_rows, write_rows

CHUNK_ROWS = 1 << 16
AVERAGE = "average"
EMPTY_FILE = 128  # bytes of a .npy without rows, which cannot be mapped


def save(folder, model, *, step: int, pointers: tuple[str, ...], state: dict) -> pathlib.Path:
    """Writes a checkpoint and points at it.

    Collective, eager.

    Args:
      folder: holds a run's checkpoints.
      model: a compiled `MetaModel`.
      step: steps trained; names the checkpoint.
      pointers: names that shall point at it, such as ("last", "best"); checkpoints without a
        pointer are deleted.
      state: what else to keep, as JSON (the position in the data, callbacks).

    Returns:
      The checkpoint's folder.
    """
    folder = pathlib.Path(folder)
    partial = folder / f".step-{step:09d}.partial"
    with comm.watchdog.long_phase("saving a checkpoint"):
        if comm.rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        comm.barrier()
        _save_rows(partial, model)
        metrics = comm.allreduce_sum(_as_float64(model), name="checkpoint.metrics")
        if comm.rank() == 0:
            _dense(model).write(str(partial / "dense"))
            np.savez(partial / "metrics.npz", *[metric.numpy() for metric in metrics])
            names = {
                "tables": _tables(model.embedding),
                "layout": _layout(model.embedding, comm.size()),
                "beside_rows": list(_beside_rows(model)),
            }
            meta = {
                "size": comm.size(),
                "step": step,
                "state": state,
                "schema": model.schema.to_dict(),
            } | names
            (partial / "checkpoint.json").write_text(json.dumps(meta, indent=1))
        comm.barrier()
        if comm.rank() == 0:
            final = _free_name(folder, f"step-{step:09d}")
            os.replace(partial, final)
            for pointer in pointers:
                _point(folder, pointer, final.name)
            _prune(folder)
        comm.barrier()
    return find(folder, pointers[0])


def find(folder, pointer: str = "last") -> pathlib.Path:
    """The checkpoint that a pointer of a run names.

    Raises:
      FileNotFoundError: there is none.
    """
    folder = pathlib.Path(folder)
    if not (folder / pointer).exists():
        raise FileNotFoundError(
            f"folder must hold a checkpoint {pointer!r}. Received: {folder}, without one. Train "
            "first."
        )
    return folder / (folder / pointer).read_text().strip()


def load(checkpoint, model) -> dict:
    """Loads all of a checkpoint into a compiled model, from any number of ranks to any number of
    ranks.

    Not collective: every rank reads what it needs.

    Args:
      checkpoint: folder, as `find` returns.
      model: of the same schema, tower, optimizers and averages as the one saved.

    Returns:
      The `state` that was saved.

    Raises:
      FileNotFoundError: no such checkpoint.
      ValueError: schema, tables, tower, optimizers or averages differ from the model's.
    """
    checkpoint, meta = _open(checkpoint, model)
    own = _beside_rows(model)
    if meta["beside_rows"] != list(own):
        raise ValueError(
            f"checkpoint must have the model's row slots and averages, {list(own)}. Received: "
            f"{meta['beside_rows']}. Compile the model "
            "with the optimizer, and average it, as it was trained."
        )
    for what, variables in (_rows(model) | own).items():
        _load_rows(checkpoint, model.embedding, variables, what=what, layout=meta["layout"])
    _dense(model).read(str(checkpoint / "dense")).assert_consumed()
    return meta["state"]


def load_weights(checkpoint, model):
    """Loads the weights alone, or where a checkpoint has them their averages, to predict with.

    As `load`, whatever the optimizers.
    """
    checkpoint, meta = _open(checkpoint, model)
    averaged = AVERAGE in meta["beside_rows"]
    _load_rows(
        checkpoint,
        model.embedding,
        model.embedding.shards,
        what=AVERAGE if averaged else "rows",
        layout=meta["layout"],
    )
    averages = [tf.Variable(v) for v in model.dense_variables]
    parts = {"average": averages} if averaged else model.dense_parts
    tf.train.Checkpoint(**parts).read(
        str(checkpoint / "dense")
    ).expect_partial().assert_existing_objects_matched()
    if averaged:
        for variable, average in zip(model.dense_variables, averages, strict=True):
            variable.assign(average)


def _open(checkpoint, model):
    """(folder, what `checkpoint.json` says), after the tables were compared."""
    checkpoint = pathlib.Path(checkpoint)
    if not (checkpoint / "checkpoint.json").exists():
        raise FileNotFoundError(
            f"checkpoint must be a folder that `save` completed. Received: {checkpoint}."
        )
    meta = json.loads((checkpoint / "checkpoint.json").read_text())
    own = {
        "tables": _tables(model.embedding),
        "schema": json.loads(json.dumps(model.schema.to_dict())),
    }
    for what, there in own.items():
        if meta[what] != there:
            raise ValueError(
                f"checkpoint must have the model's {what}, {there}. Received: {meta[what]}. Build "
                "the model as it was trained, on the "
                "data that it was trained on."
            )
    return checkpoint, meta


def load_metrics(checkpoint, model):
    """Sets the training metrics to their sums when the checkpoint was saved; rank 0 takes them, the
    others zero.
    """
    saved = np.load(pathlib.Path(checkpoint) / "metrics.npz")
    for i, variable in enumerate(_metric_variables(model)):
        value = saved[f"arr_{i}"] if comm.rank() == 0 else np.zeros(variable.shape)
        variable.assign(tf.cast(value, variable.dtype))


def _metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]


def _as_float64(model):
    return [tf.cast(variable, tf.float64) for variable in _metric_variables(model)]


def _dense(model):
    average = {"average": model.average.dense} if model.average else {}
    return tf.train.Checkpoint(**model.dense_parts, optimizer=model.optimizer, **average)


def _tables(embedding):
    return sorted(
        [table.name, table.rows, table.dim] for stack in embedding.stacks for table in stack.tables
    )


def _rows(model):
    return {"rows": model.embedding.shards}


def _beside_rows(model):
    """What else is kept by row: name -> a variable a stack."""
    slots = zip(
        model.embedding.row_optimizer.slots, zip(*model.embedding.slots, strict=True), strict=False
    )
    average = {AVERAGE: model.average.shards} if model.average else {}
    return {slot.name: list(variables) for slot, variables in slots} | average


def _file(folder, table, what, rank, size):
    return folder / f"{table}.{what}.{rank}-of-{size}.npy"


def _saved_ids(stack, name, rank, size):
    """The ids of a table that a rank saves: its shard, or if replicated all on rank 0."""
    ids, place = partition.kept_ids(stack, name, rank=rank, size=size)
    return (ids[:0] if stack.replicated and rank else ids), place


def _layout(embedding, size):
    """table -> by rank [start, stop, step] of the ids in its file."""
    return {
        table.name: [
            [ids.start, ids.stop, ids.step]
            for ids, _ in (_saved_ids(stack, table.name, rank, size) for rank in range(size))
        ]
        for stack in embedding.stacks
        for table in stack.tables
    }


def _save_rows(folder, model):
    rank, size = comm.rank(), comm.size()
    for what, variables in (_rows(model) | _beside_rows(model)).items():
        for stack, variable in zip(model.embedding.stacks, variables, strict=True):
            for table in stack.tables:
                ids, place = _saved_ids(stack, table.name, rank, size)
                _write(_file(folder, table.name, what, rank, size), variable, place, len(ids))


def _write(path, variable, place, rows):
    """`rows` rows of a variable, from `place`, in chunks."""
    dtype, shape = variable.dtype.as_numpy_dtype, (rows, variable.shape[1])
    if not rows:  # a file cannot be mapped empty
        np.save(path, np.zeros(shape, dtype))
        return
    file = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    for start in range(0, rows, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, rows)
        file[start:stop] = read_rows(variable, place + start, stop - start)
    file.flush()


def _load_rows(folder, embedding, variables, *, what, layout):
    """Fills a variable a stack with this rank's rows of what was saved, whatever the ranks and the
    placement then.
    """
    rank, size = comm.rank(), comm.size()
    for stack, variable in zip(embedding.stacks, variables, strict=True):
        for table in stack.tables:
            ids, place = partition.kept_ids(stack, table.name, rank=rank, size=size)
            saved = [range(*bounds) for bounds in layout[table.name]]
            files = [
                _read(_file(folder, table.name, what, r, len(saved))) for r in range(len(saved))
            ]
            for start in range(0, len(ids), CHUNK_ROWS):
                chunk = np.asarray(ids[start : start + CHUNK_ROWS])
                values = np.empty((len(chunk), variable.shape[1]), variable.dtype.as_numpy_dtype)
                for there, file in zip(saved, files, strict=True):
                    own = (
                        (chunk >= there.start) & ((chunk - there.start) % there.step == 0)
                        if there
                        else np.zeros(len(chunk), bool)
                    )
                    values[own] = file[(chunk[own] - there.start) // there.step]
                write_rows(variable, place + start, values)


def _read(path):
    if not path.exists():
        raise FileNotFoundError(f"checkpoint must be whole. Received: {path} is missing.")
    return np.load(path, mmap_mode="r" if path.stat().st_size > EMPTY_FILE else None)


def _free_name(folder, name):
    """The folder's child of that name, or with a number where it is taken: what a pointer names is
    never replaced.
    """
    names = (f"{name}.{i}" if i else name for i in itertools.count())
    return next(folder / free for free in names if not (folder / free).exists())


def _point(folder, pointer, name):
    new = folder / f".{pointer}.new"
    new.write_text(f"{name}\n")
    os.replace(new, folder / pointer)


def _prune(folder):
    kept = {path.read_text().strip() for path in folder.iterdir() if path.is_file()}
    for old in folder.glob("step-*"):
        if old.name not in kept:
            shutil.rmtree(old)
