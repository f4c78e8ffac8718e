"""Checkpoints: written by all ranks as one, loaded by any number of ranks.

A checkpoint is a folder `step-<n>`, renamed when whole and on the disk. Rank r of N writes its part
of each table's rows, slots and averages as `table-<number>.part-<number>.<r>-of-<N>.npy`, and what
its files have to be as `files.<r>-of-<N>.json`; rank 0 writes the dense weights and the outer
optimizer (`tf.train.Checkpoint`) and `checkpoint.json`, which has the names that the numbers stand
for. Small files beside the folders (`last`, `best`) hold the name of one and are replaced
atomically; other files in the folder are nobody's business.
"""

import itertools
import json
import os
import pathlib
import shutil

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding import partition
from gmeta_tf.embedding.chunks import read_rows, write_rows
from gmeta_tf.job import comm
from gmeta_tf.training import durable
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.run_folder import require_mounted

FORMAT = 2
CHUNK_ROWS = 1 << 16
META, DENSE, METRICS = "checkpoint.json", "dense", "metrics.npz"
ROWS, AVERAGE = "rows", "average"
EMPTY_FILE = 128  # bytes of a .npy without rows, which cannot be mapped
POINTER_BYTES = 200


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

    Raises:
      NotFiniteError: weights, slots or averages are not finite; pointers stay what they were.
      ValueError: the folder lies in an object store.
      OSError: a rank cannot write.
    """
    folder = require_mounted(folder)
    partial = folder / f".step-{step:09d}.partial"
    with comm.watchdog.long_phase("saving a checkpoint", num_bytes=_bytes(model)):
        with comm.alike("saving a checkpoint"):
            if comm.rank() == 0:
                for left in folder.glob(".step-*.partial"):
                    shutil.rmtree(left, ignore_errors=True)
                partial.mkdir(parents=True, exist_ok=True)
        metrics = comm.allreduce_sum(_as_float64(model), name="checkpoint.metrics")
        with comm.alike("saving a checkpoint"):
            files = _save_rows(partial, model)
            if comm.rank() == 0:
                files |= _save_rest(partial, model, metrics, step=step, state=state)
            durable.write_index(_index(partial, comm.rank(), comm.size()), files)
            durable.sync(partial)
        with comm.alike("saving a checkpoint"):
            if comm.rank() == 0:
                final = _free_name(folder, f"step-{step:09d}")
                os.replace(partial, final)
                durable.sync(folder)
                for pointer in pointers:
                    durable.replace_text(folder / pointer, f"{final.name}\n")
                _prune(folder)
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

    Collective, eager: every rank reads what it needs, and checks its share of the files.

    Args:
      checkpoint: folder, as `find` returns.
      model: of the same schema, tower, optimizers and averages as the one saved.

    Returns:
      The `state` that was saved.

    Raises:
      FileNotFoundError: no such checkpoint, or not all of it.
      ValueError: schema, tables, tower, optimizers or averages differ from the model's; or a file
        is not what was saved, or of an earlier version.
    """
    checkpoint, meta = _opened(checkpoint, model)
    own = _beside_rows(model)
    if meta["parts"] != [ROWS, *own]:
        raise ValueError(
            f"checkpoint must have the model's row slots and averages, {list(own)}. Received: "
            f"{meta['parts'][1:]}. Compile the model with the optimizer, and average it, as it was "
            "trained."
        )
    with _loading(model):
        for what, variables in (_rows(model) | own).items():
            _load_rows(checkpoint, meta, model.embedding, variables, what=what)
        _dense(model).read(str(checkpoint / DENSE)).assert_consumed()
    return meta["state"]


def load_weights(checkpoint, model):
    """Loads the weights alone, or where a checkpoint has them their averages, to predict with.

    As `load`, whatever the optimizers.
    """
    checkpoint, meta = _opened(checkpoint, model)
    averaged = AVERAGE in meta["parts"]
    averages = [tf.Variable(v) for v in model.dense_variables]
    parts = {"average": averages} if averaged else model.dense_parts
    with _loading(model):
        what = AVERAGE if averaged else ROWS
        _load_rows(checkpoint, meta, model.embedding, model.embedding.shards, what=what)
        tf.train.Checkpoint(**parts).read(
            str(checkpoint / DENSE)
        ).expect_partial().assert_existing_objects_matched()
    if averaged:
        for variable, average in zip(model.dense_variables, averages, strict=True):
            variable.assign(average)


def load_metrics(checkpoint, model):
    """Sets the training metrics to their sums when the checkpoint was saved; rank 0 takes them, the
    others zero.
    """
    saved = np.load(pathlib.Path(checkpoint) / METRICS)
    for i, variable in enumerate(_metric_variables(model)):
        value = saved[f"arr_{i}"] if comm.rank() == 0 else np.zeros(variable.shape)
        variable.assign(tf.cast(value, variable.dtype))


def _opened(checkpoint, model):
    """(folder, what `checkpoint.json` says), after files and tables were compared. Collective."""
    checkpoint = pathlib.Path(checkpoint)
    with _loading(model), comm.alike("checking a checkpoint"):
        meta = _meta(checkpoint)
        own = {
            "tables": _tables(model.embedding),
            "schema": json.loads(json.dumps(model.schema.to_dict())),
        }
        for what, there in own.items():
            if meta[what] != there:
                raise ValueError(
                    f"checkpoint must have the model's {what}, {there}. Received: {meta[what]}. "
                    "Build the model as it was trained, on the data that it was trained on."
                )
        _check_files(checkpoint, meta["size"])
    return checkpoint, meta


def _meta(checkpoint):
    if not (checkpoint / META).exists():
        raise FileNotFoundError(
            f"checkpoint must be a folder that `save` completed. Received: {checkpoint}."
        )
    meta = durable.read_json(checkpoint / META)
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint must be of format {FORMAT}. Received: {checkpoint}, of format "
            f"{meta.get('format', 1)}, that another version of gmeta_tf wrote. Load it with that "
            "version, or train anew."
        )
    return meta


def _check_files(checkpoint, size):
    """Compares this rank's share of the files with what they have to be."""
    indexes = [_index(checkpoint, rank, size) for rank in range(size)]
    files = {k: v for path in indexes for k, v in durable.read_index(path).items()}
    for name in sorted(files)[comm.rank() :: comm.size()]:
        durable.require(checkpoint / name, files[name], progress=comm.watchdog.progress)


def _loading(model):
    return comm.watchdog.long_phase("loading a checkpoint", num_bytes=2 * _bytes(model))


def _bytes(model) -> int:
    """What the rows of all ranks and the dense weights take, with slots and averages, about."""
    beside = [*_beside_rows(model).values(), model.embedding.shards]
    own = sum(v.dtype.size * v.shape.num_elements() for part in beside for v in part)
    dense = sum(v.dtype.size * v.shape.num_elements() for v in model.dense_variables)
    return comm.size() * own + 4 * dense


def _metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]


def _as_float64(model):
    return [tf.cast(variable, tf.float64) for variable in _metric_variables(model)]


def _dense(model):
    parts = dict(model.dense_parts)
    if model.average:
        parts |= {"average": model.average.dense, "averaged": model.average.epochs}
    return tf.train.Checkpoint(**parts, optimizer=model.optimizer)


def _tables(embedding):
    return sorted(
        [table.name, table.rows, table.dim] for stack in embedding.stacks for table in stack.tables
    )


def _rows(model):
    return {ROWS: model.embedding.shards}


def _beside_rows(model):
    """What else is kept by row: name -> a variable a stack."""
    slots = zip(
        model.embedding.row_optimizer.slots, zip(*model.embedding.slots, strict=True), strict=False
    )
    average = {AVERAGE: model.average.shards} if model.average else {}
    return {slot.name: list(variables) for slot, variables in slots} | average


def _index(folder, rank, size):
    return folder / f"files.{rank}-of-{size}.json"


def _file(table: int, part: int, rank: int, size: int) -> str:
    return f"table-{table}.part-{part}.{rank}-of-{size}.npy"


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


def _save_rows(folder, model) -> dict[str, durable.Written]:
    """Writes this rank's rows, slots and averages: file -> what it has to be."""
    rank, size, files = comm.rank(), comm.size(), {}
    numbers = {name: number for number, (name, *_) in enumerate(_tables(model.embedding))}
    for part, (what, variables) in enumerate((_rows(model) | _beside_rows(model)).items()):
        for stack, variable in zip(model.embedding.stacks, variables, strict=True):
            for table in stack.tables:
                ids, place = _saved_ids(stack, table.name, rank, size)
                file = _file(numbers[table.name], part, rank, size)
                files[file] = durable.write_array(
                    folder / file,
                    _chunks(variable, place, len(ids), f"{what} of table {table.name!r}"),
                    shape=(len(ids), variable.shape[1]),
                    dtype=variable.dtype.as_numpy_dtype,
                    progress=comm.watchdog.progress,
                )
    return files


def _chunks(variable, place, rows, name):
    """Yields `rows` rows of a variable, from `place`."""
    for start in range(0, rows, CHUNK_ROWS):
        chunk = read_rows(variable, place + start, min(CHUNK_ROWS, rows - start))
        _require_finite(chunk, name)
        yield chunk


def _require_finite(values, name):
    if not np.isfinite(values).all():
        raise NotFiniteError(
            f"{name} must be finite to be saved. Received: NaN or infinity, on rank {comm.rank()} "
            f"of {comm.size()}. The checkpoints stay what they were; lower the learning rates."
        )


def _save_rest(folder, model, metrics, *, step, state) -> dict[str, durable.Written]:
    """Writes what rank 0 alone does: file -> what it has to be."""
    for variable in [*model.dense_variables, *model.optimizer.variables]:
        if variable.dtype.is_floating:
            _require_finite(variable.numpy(), variable.name)
    _dense(model).write(str(folder / DENSE))
    np.savez(folder / METRICS, *[metric.numpy() for metric in metrics])
    files = {}
    for path in [folder / METRICS, *folder.glob(f"{DENSE}.*")]:
        durable.sync(path)
        files[path.name] = durable.read(path, progress=comm.watchdog.progress)
    meta = {
        "format": FORMAT,
        "size": comm.size(),
        "step": step,
        "state": state,
        "schema": model.schema.to_dict(),
        "tables": _tables(model.embedding),
        "layout": _layout(model.embedding, comm.size()),
        "parts": [ROWS, *_beside_rows(model)],
    }
    files[META] = durable.write_text(folder / META, json.dumps(meta, indent=1))
    return files


def _load_rows(folder, meta, embedding, variables, *, what):
    """Fills a variable a stack with this rank's rows of what was saved, whatever the ranks and the
    placement then.
    """
    numbers = {name: number for number, (name, *_) in enumerate(meta["tables"])}
    part = meta["parts"].index(what)
    for stack, variable in zip(embedding.stacks, variables, strict=True):
        for table in stack.tables:
            saved = [range(*bounds) for bounds in meta["layout"][table.name]]
            names = [_file(numbers[table.name], part, r, len(saved)) for r in range(len(saved))]
            _load_table(variable, stack, table, saved, [folder / name for name in names])


def _load_table(variable, stack, table, saved, paths):
    """Fills the rows of one table that this rank keeps.

    Args:
      variable: of the stack.
      stack: that the table lies in.
      table: whose rows to load.
      saved: by rank of the job that saved, the ids in its file.
      paths: of these files.
    """
    ids, place = partition.kept_ids(stack, table.name, rank=comm.rank(), size=comm.size())
    opened: dict[pathlib.Path, np.ndarray] = {}
    for start in range(0, len(ids), CHUNK_ROWS):
        chunk = np.asarray(ids[start : start + CHUNK_ROWS])
        values = np.empty((len(chunk), variable.shape[1]), variable.dtype.as_numpy_dtype)
        for there, path in zip(saved, paths, strict=True):
            own = _among(chunk, there)
            if own.any():
                if path not in opened:
                    opened[path] = _map(path)
                file = opened[path]
                values[own] = file[(chunk[own] - there.start) // there.step]
        write_rows(variable, place + start, values)
        comm.watchdog.progress()


def _among(ids: np.ndarray, there: range) -> np.ndarray:
    """Which of the ids lie in a range."""
    if not there:
        return np.zeros(len(ids), bool)
    within = (ids >= there.start) & (ids < there.stop)
    return within & ((ids - there.start) % there.step == 0)


def _map(path):
    return np.load(path, mmap_mode="r" if path.stat().st_size > EMPTY_FILE else None)


def _free_name(folder, name):
    """The folder's child of that name, or with a number where it is taken: what a pointer names is
    never replaced.
    """
    names = (f"{name}.{i}" if i else name for i in itertools.count())
    return next(folder / free for free in names if not (folder / free).exists())


def _prune(folder):
    """Removes the checkpoints that no file of the folder names; what of one cannot be removed now,
    the next save removes.
    """
    kept = {_named_by(path) for path in folder.iterdir() if path.is_file()}
    for old in folder.glob("step-*"):
        if old.name not in kept and (old / META).is_file():
            gone = old.with_name(f".{old.name}.partial")
            os.replace(old, gone)
            shutil.rmtree(gone, ignore_errors=True)


def _named_by(path) -> str:
    """The checkpoint that a pointer names; whatever stands in others' files."""
    try:
        with path.open("rb") as file:
            return file.read(POINTER_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
