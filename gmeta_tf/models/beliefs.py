"""What every rank of a job believes of a training: compared before it begins."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gmeta_tf._tensorflow import tf

OF_FIT = (
    "epochs",
    "initial_epoch",
    "initial_step",
    "steps_per_epoch",
    "validation_steps",
    "validation_freq",
    "batch_size",
    "validation_batch_size",
)


def beliefs(model, options: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same on every rank, by name.

    Args:
      model: a compiled `MetaModel`.
      options: of `fit`, by name.
    """
    embedding, data = model.embedding, options.get("validation_data")
    found = {
        "schema": model.schema,
        "tower": [(v.shape.as_list(), v.dtype.name) for v in model.dense_variables],
        "placement": embedding.stacks,
        "wire_dtype": embedding.wire_dtype,
        "seed": (embedding.seed, embedding.distribution),
        "optimizer": model.optimizer,
        "row_optimizer": embedding.row_optimizer,
        "inner_loop": model.task_loop.inner_loop,
        "loss": model.loss_function,
        "metrics": [metric.name for metric in model.metrics],
        "options of compile": model.options,
        "steps_per_execution": int(model._steps_per_execution),
        "steps of the data": _steps(options.get("x")),
        "steps of the validation data": None if data is None else _steps(data),
    } | {name: options.get(name) for name in OF_FIT}
    return {name: described(value) for name, value in found.items()}


def described(value: Any) -> Any:
    """What prints the same wherever it means the same: functions by name, objects by their
    configuration.
    """
    if isinstance(value, Mapping):
        return {str(name): described(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | range):
        return [described(part) for part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return type(value).__qualname__, described(fields)
    if hasattr(value, "get_config"):
        return type(value).__qualname__, described(value.get_config())
    if isinstance(value, tf.Tensor | tf.Variable | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)


def _steps(data):
    """How many batches there are: of a data set as far as it is known, of arrays by their kind."""
    if isinstance(data, tf.data.Dataset):
        return int(data.cardinality())
    return type(data).__name__
