"""The ranks agree on whether to stop, about once a second."""

import time

from gmeta_tf import comm
from gmeta_tf._tensorflow import tf

EVERY_SECONDS = 1.0
MOST_STEPS = 1000


class Agreement:
    """Whether any rank wishes to stop (see `gmeta_tf.stop`): the same answer on every rank.

    The ranks ask each other after a number of steps that follows from the pace of all of them, so
    that every rank asks at the same step. A job of one process asks nobody.
    """

    def __init__(self):
        self._steps, self._until, self._since = 0, 1, time.monotonic()

    def after(self, steps: int) -> bool:
        """The answer after so many more steps; False where it is not yet time to ask.
        Collective.
        """
        self._steps += steps
        if comm.size() > 1 and self._steps < self._until:
            return False
        return self.now()

    def now(self) -> bool:
        """The answer now. Collective, eager."""
        if comm.size() == 1:
            return comm.stop.requested()
        now = time.monotonic()
        seconds = now - self._since  # with the wait for others, the last time
        wishes = [0.0] * comm.size()
        wishes[comm.rank()] = float(comm.stop.requested())
        with comm.watchdog.watch("asking who wishes to stop"):
            (summed,) = comm.allreduce_sum([tf.constant([*wishes, seconds])], name="stop")
        *wishes, seconds = summed.numpy().tolist()
        if self._steps:  # else it is an epoch's end, behind a step that has asked
            pace = seconds / comm.size() / self._steps
            self._until = min(MOST_STEPS, max(1, int(EVERY_SECONDS / max(pace, 1e-9))))
        self._steps, self._since = 0, now
        asked = [rank for rank, wish in enumerate(wishes) if wish]
        if asked:
            comm.stop.request(f"stopped, as rank {asked[0]} was asked to")
        return bool(asked)
