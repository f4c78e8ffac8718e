"""What a meta-model does with a batch: a meta-update, scores for its metrics, logits.

A step's parts that compute are functions of tensors; between them stand the exchanges. On one rank
all of it is one program, on several each part is one, where steps are compiled (see `programs`).
"""

from typing import NamedTuple

from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.capacity import padded
from gmeta_tf.embedding.exchange import ExchangePlan
from gmeta_tf.job import comm
from gmeta_tf.meta.losses import task_losses
from gmeta_tf.meta.outer_loop import outer_gradients, padding_share
from gmeta_tf.metrics.step import UNTIMED, StepClock
from gmeta_tf.models.lifecycle import Lifecycle
from gmeta_tf.models.run_ahead import of_bits, once
from gmeta_tf.programs import program


class Learned(NamedTuple):
    """What a rank's tasks make of a step: sums over them.

    Attributes:
      logits: [tasks, query samples].
      tasks: scalar, those with a query sample.
      failed: scalar, 1 where the query loss is not finite.
      dense: gradients of the dense weights.
      of_rows: per dim, gradients of the rows as fetched.
      replicated: what is to be summed for replicated tables (see `ShardedEmbedding`).
    """

    logits: tf.Tensor
    tasks: tf.Tensor
    failed: tf.Tensor
    dense: list[tf.Tensor]
    of_rows: tuple[tf.Tensor, ...]
    replicated: list[tf.Tensor]


class Steps(Lifecycle):
    """The three steps that Keras calls, of a subclass that `compile` has made ready.

    It has `embedding`, `dense_weights`, `task_loop`, `loss_function`, `admission`, `options` and
    the optimizer, and keeps the plan of the next step (see `run_ahead`).
    """

    def train_step(self, data):
        """One meta-update: adapt on support, differentiate the query loss, update rows and dense
        weights. Collective.

        Args:
          data: (support, query), and what `run_ahead` adds: the plan, or the next batch's ids.
        """
        clock = StepClock(self.measures.steps)
        support, query, *ahead = clock.mark(self._admitted(data))
        if self._alone:
            step = program(self._step, compiled=True)
            sent = clock.program(step(support, query))
        else:
            sent = self._step(support, query, *ahead, clock=clock)
        if self.measures.steps:
            clock.finish(sent, self._padding_share(support, query))
        return self.results()

    def _step(self, support, query, *ahead, clock=UNTIMED):
        """A step from packed sets to updated weights; returns the bytes that it sent."""
        plan = self._plan(support, query, *ahead)
        rows = clock.mark(self._fetch(plan))
        learned = clock.mark(self._part(self._learn)(rows, plan.index, support, query))
        home = self._send_home(plan, learned.of_rows)
        told = self.agreement.message(learned.failed)
        dense = [*told, learned.tasks, *learned.dense, *learned.replicated]
        summed = clock.mark(comm.allreduce_sum(dense, name="dense_gradients"))
        for heard in summed[: len(told)]:
            self.agreement.hear(heard)
        tasks, *summed = summed[len(told) :]
        scale = self._scale(tasks, home, summed)
        self._part(self._update)(home, summed, scale, tasks, query, learned.logits)
        if not self.measures.steps:
            return None
        clock.mark([*self.embedding.after_update(), self.optimizer.iterations.read_value()])
        return self.embedding.bytes_sent(plan) + comm.allreduce_bytes(dense)

    def _learn(self, rows, index, support, query) -> Learned:
        """Both loops over this rank's tasks, from fetched rows. Pure."""
        sets = *_, query = self._sets(rows, index, support, query)
        logits, dense, of_gathered = outer_gradients(
            self.task_loop,
            self.dense_weights,
            *sets,
            chunk=self.options.task_chunk,
            sizes=self.options.sizes,
        )
        of_rows = self.embedding.lookup.sum_per_row(of_gathered, index, rows)
        real = query["weight"] > 0
        tasks = tf.cast(tf.math.count_nonzero(tf.reduce_any(real, -1)), logits.dtype)
        losses, _ = task_losses(self.loss_function, query["label"], logits, query["weight"])
        failed = tf.cast(~tf.math.is_finite(tf.reduce_sum(losses)), logits.dtype)
        replicated = self.embedding.replicated_gradients(index, of_rows)
        return Learned(logits, tasks, failed, dense, of_rows, replicated)

    def _update(self, home, summed, scale, tasks, query, logits):
        """Applies the gradients of all ranks, unless there was no task, and measures."""
        count = len(self.dense_weights)
        dense, replicated = summed[:count], self.embedding.replicated_home(summed[count:])
        self.embedding.update(
            [*home, *replicated],
            scale=scale,
            step=tf.identity(self.optimizer.iterations),
            rate_scale=self._rate_scale(),
            enabled=tasks > 0,
        )
        self._update_dense([gradient * scale for gradient in dense], enabled=tasks > 0)
        _measure(self.measures.training, self.admission.unpack(query), logits)

    def _rate_scale(self):
        """The dense learning rate over the one that the model was compiled with: what callbacks
        made of it, for the rows' rate, too.
        """
        if self._compiled_rate is None:
            return 1.0
        return tf.identity(self.optimizer.learning_rate) / self._compiled_rate

    def _update_dense(self, gradients, *, enabled):
        def apply():
            pairs = list(zip(gradients, self.dense_weights, strict=True))
            if pairs:
                self.optimizer.apply_gradients(pairs)
            else:  # where Keras does not count
                self.optimizer.iterations.assign_add(1)

        if not self.embedding.compiled:
            tf.cond(enabled, apply, lambda: None)
            return
        # A branch would have the host read the condition from the device.
        state = [*self.dense_weights, *self.optimizer.variables]
        before = [tf.identity(variable) for variable in state]
        apply()
        for variable, old in zip(state, before, strict=True):
            variable.assign(tf.where(enabled, variable, old))

    def _scale(self, tasks, home, summed):
        """What gradients are multiplied by: 1 / tasks, or less where their norm over all ranks is
        clipped.
        """
        scale = tf.math.divide_no_nan(tf.ones_like(tasks), tasks)
        if self.options.clip_norm is None:
            return scale
        # Each row's sum is at its owner only; that of a replicated one is everywhere.
        (of_rows,) = comm.allreduce_sum([_squares([g.values for g in home], tasks)], name="norm")
        count = len(self.dense_weights)
        shared = [g.values for g in self.embedding.replicated_home(summed[count:])]
        norm = scale * tf.sqrt(of_rows + _squares([*summed[:count], *shared], tasks))
        return scale * self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)

    def test_step(self, data):
        """Scores the query samples after and before adaptation. Collective."""
        support, query = self._admitted(data)
        self._with_rows(self._score, support, query)
        return self.results()

    def _score(self, rows, index, support, query):
        sets = *_, query = self._sets(rows, index, support, query)
        for metrics, adapt in ((self.measures.adapted, True), (self.measures.unadapted, False)):
            logits = self.task_loop.query_logits(*sets, training=False, adapt=adapt)
            _measure(metrics, query, logits)

    def predict_step(self, data):
        """[tasks, query samples] logits after adaptation. Collective."""
        support, query = self._admitted(data)
        return self._with_rows(self._logits, support, query)

    def _logits(self, rows, index, support, query):
        sets = self._sets(rows, index, support, query)
        return self.task_loop.query_logits(*sets, training=False)

    def score_step(self, data):
        """[tasks, query samples] logits before adaptation, and after it. Collective."""
        support, query = self._admitted(data)
        return self._with_rows(self._both_logits, support, query)

    def _both_logits(self, rows, index, support, query):
        sets = self._sets(rows, index, support, query)
        return [
            self.task_loop.query_logits(*sets, training=False, adapt=adapt)
            for adapt in (False, True)
        ]

    def _sets(self, rows, index, support, query):
        """Packed sets with the rows that they read, as `TaskLoop.query_logits` takes them."""
        gathered = self.embedding.lookup.gather(rows, index)
        return gathered, index, self.admission.unpack(support), self.admission.unpack(query)

    def _with_rows(self, function, support, query):
        """A function of (rows, index, support, query), of the rows that they read."""

        def looked_up(support, query):
            plan = self._plan(support, query)
            return self._part(function)(self._fetch(plan), plan.index, support, query)

        return program(looked_up, compiled=self._alone)(support, query)

    @property
    def _alone(self):
        """Whether a step is one compiled program: nothing has to be exchanged in its midst."""
        return self.embedding.compiled and comm.size() == 1

    @property
    def _in_parts(self):
        """Whether a step is compiled programs with exchanges between them."""
        return self.embedding.compiled and not self._alone

    def _part(self, function):
        """A part of a step between two collectives: a program of its own where there are such."""
        return program(function, compiled=self._in_parts)

    def _admitted(self, data):
        """A batch as packed sets, checked unless the input pipeline has done so."""
        support, query, *ahead = data[0] if len(data) == 1 else data  # Keras's, of a pair
        if isinstance(support, dict):
            support, query = self.admission.pack(support, query, step=self.optimizer.iterations)
        return support, query, *ahead

    def _ids(self, support, query):
        return self.admission.ids(self.admission.bits_of(support, query))

    def _plan(self, support, query, ahead=None):
        """The exchange of a batch; the last step, or the input pipeline, may have planned it.

        The next step's keys are under way before this one's rows.

        Args:
          support: packed.
          query: packed.
          ahead: the plan, or the bits of the next batch's ids; None: nothing was planned.
        """
        if isinstance(ahead, ExchangePlan):
            return ahead
        ids = self._ids(support, query)
        if ahead is None:
            return self.embedding.plan(ids)
        kept = self._planned.take(lambda: self.embedding.plan(ids))
        following = self.embedding.plan(self.admission.ids(ahead), name="next_keys")
        plan = of_bits(once(following.send_counts, kept))
        plan.index.set_shape(ids.shape)
        self._planned.keep(following)
        return plan

    def _fetch(self, plan):
        rows = self.embedding.fetch(plan)
        return tuple(map(padded, rows)) if self._in_parts else rows

    def _send_home(self, plan, of_rows):
        """The gradients of this rank's rows, each row once."""
        home = self.embedding.send_home(plan, of_rows)
        if not self._in_parts:
            return self.embedding.summed(home)
        return self._part(self.embedding.summed)(self.embedding.padded(home))

    def _padding_share(self, support, query):
        unpack = self.admission.unpack
        return padding_share(unpack(support), unpack(query), sizes=self.options.sizes)

    def forget_steps(self):
        """Forgets what was kept for a next step: its plan, and when the last one ended."""
        self._planned.clear()
        if self.measures.steps:
            self.measures.steps.pause()

    def look_up(self, support, query) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """The rows of both sets of a batch, by one exchange: (index, gathered) as
        `TaskLoop.query_logits` takes them. Collective.
        """
        plan = self.embedding.plan(self._ids(*self._admitted((support, query))))
        return plan.index, self.embedding.lookup.gather(self.embedding.fetch(plan), plan.index)


def _measure(metrics, query, logits):
    for metric in metrics:
        metric.update_state(query["label"], logits, query["weight"])


def _squares(tensors, like):
    """Scalar: the sum of squares."""
    total = tf.zeros_like(like)
    for tensor in tensors:
        total += tf.reduce_sum(tf.square(tensor))
    return total
