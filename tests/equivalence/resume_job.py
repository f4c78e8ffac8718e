"""Trains a run, of which it keeps what a crash in mid-epoch would leave; or resumes from that, in a
new process.

horovodrun -np 2 python tests/equivalence/resume_job.py DATA OUT whole|rest
"""

import json
import pathlib
import shutil
import sys

import training_job

from gmeta_tf import Reader, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.training import checkpoint
from gmeta_tf.training.callbacks import Checkpoints

EPOCHS, EVERY = 3, 2


class KeepMidEpoch(Checkpoints):
    """Copies the checkpoints in the second epoch, a step after one was saved within it."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if (self.position["epoch"], batch) == (1, EVERY) and comm.rank() == 0:
            shutil.copytree(self.folder, self.folder.parent.with_name("resumed") / "checkpoints")


def main(folder, out, part):
    """One rank of a job."""
    out = pathlib.Path(out) / ("whole" if part == "whole" else "resumed")
    data, validation = (
        Reader(
            folder,
            name,
            global_batch_tasks=8,
            rank=comm.rank(),
            size=comm.size(),
            seed=3,
            **options,
        )
        for name, options in (("train", {"cold_rate": 0.5, "redraw": True}), ("validation", {}))
    )
    model = training_job.build(data.schema, "all_rows_adapt")
    found = checkpoint.find(out / "checkpoints") if part == "rest" else None
    position = checkpoint.load(found, model) if found else None
    stop = tf.keras.callbacks.EarlyStopping("val_auc", mode="max", patience=5)
    saving = (KeepMidEpoch if part == "whole" else Checkpoints)(
        out / "checkpoints",
        steps_per_epoch=data.steps_per_epoch,
        stateful=[stop],
        every_steps=EVERY,
        resume=found,
        position=position,
    )
    epoch, step = saving.position["epoch"], saving.position["step"]
    assert (epoch, step) == ((1, EVERY) if part == "rest" else (0, 0))
    history = saving.fit(
        model,
        data.stream(epoch=epoch, step=step),
        epochs=EPOCHS,
        validation_data=validation.dataset(),
        callbacks=[model.average, stop],
        verbose=0,
    )
    if comm.rank() == 0:
        logs = {
            name: [float(value) for value in values[-2:]]
            for name, values in history.history.items()
        }
        (out / "logs.json").write_text(json.dumps({"logs": logs, "stop": [stop.wait, stop.best]}))


if __name__ == "__main__":
    with comm.session(sys.argv[2]):
        tf.keras.backend.set_floatx("float64")
        main(*sys.argv[1:])
