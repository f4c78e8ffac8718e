"""Trains without end, until the last rank fails in a given way at its fifth step.

horovodrun -np 2 python tests/failures/failing_job.py DATA OUT raise|kill|stop|exit|config|bad_id
"""

import os
import signal
import sys
import time

import training_job

from gmeta_tf import Reader, comm
from gmeta_tf._tensorflow import tf

FAIL_AT = 5


class Fail(tf.keras.callbacks.Callback):
    """Fails in a given way."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def on_train_batch_end(self, batch, logs=None):
        if batch != FAIL_AT or comm.rank() != comm.size() - 1:
            return
        if self.how == "raise":
            raise ValueError("the price must be paid. Received: nothing.")
        if self.how == "exit":
            sys.exit(3)
        if self.how in ("kill", "stop"):
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[self.how])


def batches(data, how):
    """An endless stream; with `bad_id` the last rank's sixth batch holds an id outside its table."""
    if how != "bad_id" or comm.rank() != comm.size() - 1:
        return data.stream()

    def spoil(step, batch):
        support, query = batch
        offset = tf.where(step == FAIL_AT, tf.constant(10**6, tf.int64), 0)
        return support | {"ids": support["ids"] + offset}, query

    return data.stream().enumerate().map(spoil)


def main(folder, out, how):
    """One rank of the job."""
    with comm.session(out):
        comm.require_equal(comm.rank() if how == "config" else 0, what="configuration")
        data = Reader(folder, "train", global_batch_tasks=8, rank=comm.rank(), size=comm.size())
        model = training_job.build(data.schema, "dlrm_dense", steps_per_execution=1)
        model.fit(batches(data, how), steps_per_epoch=10**6, callbacks=[Fail(how)], verbose=0)
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
