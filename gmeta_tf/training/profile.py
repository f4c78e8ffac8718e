"""A profile of a few training steps: TensorFlow's of every rank, and Horovod's timeline."""

import contextlib
import pathlib

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm

TIMELINE = "horovod.json"


class Profile(tf.keras.callbacks.Callback):
    """Profiles some steps of a call of `fit`, once.

    Leaves in `folder`:
      rank_0, rank_1, …: TensorFlow's profile of each rank (`tensorboard --logdir`, with
      tensorboard-plugin-profile). horovod.json: Horovod's timeline of the collectives of all ranks
      (chrome://tracing, ui.perfetto.dev); none in a job of size 1.

    The steps are those of one epoch's training: the profile ends with the epoch, if not before.
    With `steps_per_execution` above 1 it begins and ends with whole executions.

    Args:
      folder: shared by the ranks of a host.
      first_step: steps of the call to let pass first, such as those that trace and warm up.
      steps: how many to profile, at least.

    Raises:
      ValueError: `first_step` is negative, or `steps` is not positive; when training begins, that
        no timeline was requested (see `comm.timeline`).
    """

    def __init__(self, folder, *, first_step: int = 10, steps: int = 5):
        super().__init__()
        if first_step < 0:
            raise ValueError(
                f"first_step must be at least 0. Received: first_step={first_step}. Its default is "
                "10."
            )
        if steps < 1:
            raise ValueError(
                f"steps must be at least 1. Received: steps={steps}. Its default is 5."
            )
        self.folder, self.first_step, self.steps = pathlib.Path(folder), first_step, steps
        self._running = contextlib.ExitStack()

    def on_train_begin(self, logs=None):
        """Counts from here; ends what an interrupted call has left."""
        comm.require_timeline()
        self._running.close()
        self._seen, self._end = 0, None

    def on_train_batch_begin(self, batch, logs=None):
        """Begins the profile at its first step."""
        self._batch = batch
        if self._end is None and self._seen >= self.first_step:
            self._end = self._seen + self.steps
            own = self.folder / f"rank_{comm.rank()}"
            own.mkdir(parents=True, exist_ok=True)
            self._running.enter_context(comm.timeline(self.folder / TIMELINE))
            tf.profiler.experimental.start(str(own))
            self._running.callback(tf.profiler.experimental.stop)

    def on_train_batch_end(self, batch, logs=None):
        """Ends the profile after its last step."""
        self._seen += batch + 1 - self._batch
        if self._end is not None and self._seen >= self._end:
            self._running.close()

    def on_test_begin(self, logs=None):
        """Ends the profile before validation."""
        self._running.close()

    def on_epoch_end(self, epoch, logs=None):
        """Ends the profile with the epoch."""
        self._running.close()

    def on_train_end(self, logs=None):
        """Ends the profile where training stops in mid-epoch."""
        self._running.close()
