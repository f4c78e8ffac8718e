"""Meta-Embedding: a cold item's row is generated from its features, and learns fast from its first
clicks.
"""

from collections.abc import Sequence

import numpy as np

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.lookup import Lookup
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.meta.occurrence import first_occurrence
from gmeta_tf.models.base import MetaModel
from gmeta_tf.schema import Categorical, Schema


class GeneratedRows(FirstWeights):
    """Adds tanh(W [vectors of the features] + b) to the row of an id: one row a task and id, from
    the first sample that has it.

    Args:
      lookup: of the model's embedding.
      identity: categorical feature whose row is generated.
      features: id features to generate it from.
    """

    def __init__(self, lookup: Lookup, *, identity: str, features: Sequence[str]):
        super().__init__(name="generated_rows")
        self._lookup = lookup
        self._columns = np.concatenate([lookup.columns(name) for name in features])
        self._dim, self._place = lookup.place(identity)
        self.generator = tf.keras.layers.Dense(
            lookup.dims[self._dim], "tanh", name="generator", dtype=self.dtype
        )
        self.generator(tf.zeros([1, len(self._columns)], self.dtype))  # builds it

    def rows(self, gathered, index, numeric):
        """As `FirstWeights.rows`."""
        vectors = tf.gather(
            self._lookup.combine(gathered, index > 0, numeric), self._columns, axis=-1
        )  # [tasks, samples, inputs]
        own = self._lookup.index_by_dim(index)[self._dim][
            ..., self._place, None
        ]  # [tasks, samples, 1]
        made = tf.where(
            own > 0, self.generator(tf.gather(vectors, first_occurrence(own), batch_dims=1)), 0.0
        )
        rows = gathered[self._dim]
        at = tf.one_hot(self._place, rows.shape[-2], dtype=rows.dtype)[:, None]  # [positions, 1]
        return (*gathered[: self._dim], rows + made[..., None, :] * at, *gathered[self._dim + 1 :])


class MetaEmb(MetaModel):
    """A meta-model of ads, or items, as tasks: a generator gives a new one's row, which then adapts
    to its first clicks.

    What is the paper's: the generator, one step on the row alone, and the outer loss, a mean of the
    loss before and after the step. What is adapted: the paper trains the base model first and the
    generator after it, on its ads as if they were new; here one training does both, in which
    `Reader(cold_rate=…)` makes a task's own id unknown, and known ids add their own row to what is
    generated.

    Reference: Pan et al., "Warm Up Cold-start Advertisements: Improving CTR Predictions via
    Learning to Learn ID Embeddings", SIGIR 2019 (arXiv:1904.11547), equations 9 to 15.

    Args:
      schema: as for `MetaModel`.
      tower: as for `MetaModel`.
      identity: categorical feature whose row is generated; default: the task key.
      features: id features to generate it from, such as an ad's own: each says the same in all
        samples of an id.
      **options: as for `MetaModel`.

    Raises:
      ValueError: a feature is not of the kind named, or there is none to generate from.
    """

    def __init__(
        self,
        schema: Schema,
        tower,
        *,
        features: Sequence[str],
        identity: str | None = None,
        **options,
    ):
        identity = identity or (schema.task if isinstance(schema.task, str) else "")
        categorical = [
            feature.name for feature in schema.id_features if isinstance(feature, Categorical)
        ]
        if identity not in categorical:
            raise ValueError(
                f"identity must be a categorical feature, one of {categorical}. Received: "
                f"identity={identity!r}. Name one."
            )
        others = [feature.name for feature in schema.id_features if feature.name != identity]
        features = tuple(features)
        if not features or not set(features) <= set(others):
            raise ValueError(
                f"features must be some of {others}. Received: features={features}. Name those of "
                "the task, such as an ad's."
            )
        super().__init__(schema, tower, **options)
        self.identity = identity
        self.first = GeneratedRows(self.embedding.lookup, identity=identity, features=features)

    def compile(
        self,
        optimizer="adam",
        *,
        inner_loop: InnerLoop | None = None,
        cold_share: float = 0.1,
        **kwargs,
    ):
        """As for `MetaModel`, with one step on the identity's rows and the paper's share of the
        cold loss unless told otherwise.
        """
        table = next(
            feature.table for feature in self.schema.id_features if feature.name == self.identity
        )
        super().compile(
            optimizer,
            inner_loop=inner_loop or InnerLoop(1, 0.1, adapt=table),
            cold_share=cold_share,
            **kwargs,
        )
