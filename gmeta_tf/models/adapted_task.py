"""A model adapted to one task: what serves a newcomer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import LowRankKernel


class AdaptedTask:
    """A model adapted to one task, ready to score its samples.

    Args:
      model: the `MetaModel`.
      support: packed support samples.
    """

    def __init__(self, model, support: Mapping[str, np.ndarray]):
        self._model = model
        self._support = _one_task(support)
        self._task_loop = (
            model.task_loop
        )  # the rule that it adapts by, whatever the model does later
        self._step = int(model.optimizer.iterations)
        self._dense, self._rows = self._task_loop.adapt(self._task(self._support), training=False)

    def predict(self, query: Mapping[str, Any]) -> np.ndarray:
        """Scores samples of the task.

        Collective, as `MetaModel.adapt`.

        Args:
          query: encoded columns of n samples; a label is not needed.

        Returns:
          [n] logits.

        Raises:
          ValueError: the model has trained since, so that its weights go no longer with these.
        """
        step = int(self._model.optimizer.iterations)
        if step != self._step:
            raise ValueError(
                f"An adapted task must be of the model as it is. Received: a model in step {step}, "
                f"adapted in step {self._step}. Adapt again."
            )
        task = self._task(_one_task(self._model.schema.pack(query)))
        dense = [
            weight.unused() if isinstance(weight, LowRankKernel) else weight
            for weight in self._dense
        ]
        return self._task_loop.logits(task, (dense, self._rows), training=False).numpy()

    def _task(self, query):
        index, gathered = self._model.look_up(self._support, query)
        return self._task_loop.first_task(gathered, index, self._support, query)


def require_labels(
    support: Mapping[str, Any],
    packed: Mapping[str, np.ndarray],
    label: str,
    *,
    probabilities: bool,
):
    """Raises ValueError unless every support sample has a label that the loss has a meaning for.

    Args:
      support: columns, as they were given.
      packed: the same, packed.
      label: its column.
      probabilities: whether labels must lie in [0, 1].
    """
    if label not in support or not np.isfinite(packed["label"]).all():
        raise ValueError(
            f"support must have a finite {label!r} for every sample. Received: "
            f"{support.get(label)!r}. Leave out samples without one."
        )
    if probabilities and not ((packed["label"] >= 0) & (packed["label"] <= 1)).all():
        raise ValueError(
            f"{label!r} must lie in [0, 1] for the loss. Received: {packed['label']}. Give clicks."
        )


def _one_task(samples):
    batch = {name: tf.constant(values[None]) for name, values in samples.items()}
    return batch | {"weight": tf.ones_like(batch["label"])}
