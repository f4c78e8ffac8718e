"""An end to training that went wrong."""

import math

from gmeta_tf._tensorflow import tf


class NotFiniteError(ValueError):
    """A training that has diverged, or cannot be measured."""


class RequireFinite(tf.keras.callbacks.Callback):
    """Raises at the end of an epoch whose logs, merged over ranks and so the same on all, are not
    finite.
    """

    def on_epoch_end(self, epoch, logs=None):
        """Raises NotFiniteError."""
        remedies = {
            "loss": "Lower the learning rates",
            "val_loss": "Lower the learning rates",
            "val_auc": "Validate on tasks whose queries have labels of both classes",
            "val_mae": "Lower the learning rates",
        }
        for name, remedy in remedies.items():
            if name in logs and not math.isfinite(logs[name]):
                raise NotFiniteError(
                    f"{name} must be finite. Received: {name}={float(logs[name])} in epoch "
                    f"{epoch + 1}{self._first()}. {remedy}."
                )

    def _first(self):
        """Where it began, as ranks tell each other."""
        first = self.model and self.model.agreement.not_finite
        return ", first by rank {} in step {} of the model".format(*first) if first else ""
