"""MeLU: a user's decision layers adapt, embeddings are everyone's."""

from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.towers import MLP
from gmeta_tf.schema import Schema


class MeLU(MetaModel):
    """Ratings by two hidden layers over user and item embeddings; all dense layers adapt, no row
    does.

    A task is a user, the loss the squared error of raw ratings. Fields and sizes as published:
    eight features of 32, layers 64-64-1, one step. The published program takes no gradient through
    the step, though the paper has it: `InnerLoop( second_order=False)` gives that.

    Reference: Lee et al., "MeLU: Meta-Learned User Preference Estimator for Cold-Start
    Recommendation", KDD 2019 (arXiv:1908.00413), algorithm 1, where θ2 are the dense layers and θ1
    the embeddings.

    Args:
      schema: as for `MetaModel`.
      units: widths of the hidden layers.
      embedding_dim: width of the tables' rows.
      **options: as for `MetaModel`.
    """

    def __init__(self, schema: Schema, *, units=(64, 64), embedding_dim=32, **options):
        super().__init__(schema, MLP(units), embedding_dim=embedding_dim, **options)

    def compile(
        self, optimizer="adam", *, inner_loop: InnerLoop | None = None, loss="mse", **kwargs
    ):
        """As for `MetaModel`, with one step on the dense layers and the squared error unless told
        otherwise.
        """
        super().compile(
            optimizer,
            inner_loop=inner_loop or InnerLoop(1, 0.01, adapt="dense"),
            loss=loss,
            **kwargs,
        )
