"""Keras's own ways to keep, copy and extend a model: which of them a meta-model has.

Its rows lie on the ranks, each of which has its own. So what writes one file is for jobs of one
rank; and no file of Keras's has the schema, the rules and the rows' slots, without which training
cannot go on. docs/keras.md has the table.
"""

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm

CHECKPOINTS = "gmeta_tf.training.checkpoint.save, or Checkpoints in training"
EXPORT = "gmeta_tf.serving.export.export"
WEIGHTS = "save_weights in a job of one rank"


class KerasSavers(tf.keras.Model):
    """A Keras model without what no meta-model has; the weights of its layers are its weights."""

    def save(self, *args, **kwargs):
        """Raises NotImplementedError: no program could load the file."""
        raise _unavailable(
            "save",
            rule="be saved by what knows its schema and its rows' slots",
            remedy=f"Use {CHECKPOINTS} to train on, {WEIGHTS} for weights alone, {EXPORT} to serve",
        )

    def export(self, *args, **kwargs):
        """Raises NotImplementedError."""
        raise _unavailable(
            "export", rule="be exported with its data's manifest", remedy=f"Use {EXPORT}"
        )

    def get_config(self):
        """Raises NotImplementedError, so that Keras makes no JSON and no copy."""
        raise _unavailable(
            "get_config",
            rule="be built from its schema and a tower",
            remedy="Build it anew, or from a run's options by training.experiment.build_model",
        )

    def add_loss(self, *args, **kwargs):
        """Raises NotImplementedError: no step would see it."""
        raise _unavailable(
            "add_loss", rule="have one loss of a set of samples", remedy="Use compile(loss=…)"
        )

    def add_metric(self, *args, **kwargs):
        """Raises NotImplementedError: no step would see it."""
        raise _unavailable(
            "add_metric",
            rule="have metrics that add up over ranks",
            remedy="Use compile(metrics=…)",
        )

    def __call__(self, *args, **kwargs):
        """Raises NotImplementedError: it takes no input, but a task's two sets."""
        raise _unavailable(
            "a call of the model",
            rule="adapt to a support set before it scores",
            remedy="Use predict for batches, adapt for one task, or call its tower",
        )

    def save_weights(self, filepath, *args, **kwargs):
        """As Keras's: dense weights and rows, the dense optimizer, no slots of rows. In jobs of
        one rank.
        """
        require_one_rank("save_weights", f"Use {CHECKPOINTS}, which any number of ranks loads")
        super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """As Keras's, of `save_weights`. In jobs of one rank."""
        require_one_rank("load_weights", "Use gmeta_tf.training.checkpoint.load or load_weights")
        return super().load_weights(filepath, *args, **kwargs)


def require_one_rank(method: str, remedy: str):
    """Raises NotImplementedError in a job of several ranks."""
    if comm.size() > 1:
        raise NotImplementedError(
            f"{method} must be called in a job of one rank: each has rows of its own. Received: "
            f"{comm.size()} ranks. {remedy}."
        )


def _unavailable(method, *, rule, remedy):
    return NotImplementedError(f"A meta-model must {rule}. Received: {method}. {remedy}.")
