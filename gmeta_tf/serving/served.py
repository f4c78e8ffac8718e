"""What an exported model computes: scores of samples, before and after adaptation to a task's
support set.
"""

import functools

from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import EMPTY
from gmeta_tf.serving.tables import WholeTables


class ServedModel(tf.Module):
    """A `MetaModel` without ranks: graphs of plain TensorFlow operations over whole tables.

    Args:
      model: a compiled `MetaModel`, whose weights are served as they are.
      tables: its tables.
      support_size: the most samples of a request's support set, to which it is padded.
      query_size: the same of its query set.

    Attributes:
      functions: name -> concrete function, as `tf.saved_model.save` takes them.
      weights: every variable that these read, whoever keeps it: what a SavedModel has to hold.
    """

    def __init__(self, model, tables: WholeTables, *, support_size: int, query_size: int):
        super().__init__(name="served_model")
        self._tables = tables
        self._task_loop = model.task_loop
        self._support_size, self._query_size = support_size, query_size
        self._log_odds = model.log_odds
        positions, width = len(model.schema.positions), model.schema.numeric_width

        def ids(name):
            return tf.TensorSpec([None, positions], tf.int64, name)

        def numeric(name):
            return tf.TensorSpec([None, width], tf.float32, name)

        graph = functools.partial(tf.function, autograph=False)
        self.functions = {
            "predict": graph(self._predict).get_concrete_function(ids("ids"), numeric("numeric")),
            "adapt_and_predict": graph(self._adapt_and_predict).get_concrete_function(
                ids("support_ids"),
                numeric("support_numeric"),
                tf.TensorSpec([None], tf.float32, "support_label"),
                ids("query_ids"),
                numeric("query_numeric"),
            ),
        }
        read = {
            id(variable): variable
            for function in self.functions.values()
            for variable in function.graph.variables
        }
        self.weights = list(read.values())

    def _predict(self, ids, numeric):
        query = _one_task("ids", ids, numeric, tf.zeros(tf.shape(ids)[:1]))
        support = {name: values[:, :0] for name, values in query.items()}
        return self._scores(support, query, adapt=False)

    def _adapt_and_predict(
        self, support_ids, support_numeric, support_label, query_ids, query_numeric
    ):
        _require_label(support_label, chances=self._log_odds)
        support = _one_task(
            "support_ids", support_ids, support_numeric, support_label, size=self._support_size
        )
        query = _one_task(
            "query_ids",
            query_ids,
            query_numeric,
            tf.zeros(tf.shape(query_ids)[:1]),
            size=self._query_size,
        )
        return {
            name: scores[: tf.shape(query_ids)[0]]
            for name, scores in self._scores(support, query, adapt=True).items()
        }

    def _scores(self, support, query, *, adapt):
        """name -> [query samples] float32."""
        index, gathered = self._tables.look_up(tf.concat([support["ids"], query["ids"]], 1))
        logits = self._task_loop.query_logits(
            gathered, index, support, query, training=False, adapt=adapt
        )[0]
        logits = tf.cast(logits, tf.float32)
        return {"logits": logits} | (
            {"probabilities": tf.sigmoid(logits)} if self._log_odds else {}
        )


def _one_task(name, ids, numeric, label, *, size=None):
    """A batch of one task; with a size, padded to so many samples by ones of weight 0."""
    count = tf.shape(ids)[0]
    parts = {"ids": ids, "numeric": numeric, "label": label, "weight": tf.ones([count])}
    checks = [_require_alike(name, parts), _require_finite(name.replace("ids", "numeric"), numeric)]
    checks += [_require_at_most(name, count, size)] if size else []
    with tf.control_dependencies(checks):
        behind = tf.maximum(size - count, 0) if size else tf.zeros([], tf.int32)
    return {
        key: _padded(values, behind, size, EMPTY if key == "ids" else 0)[None]
        for key, values in parts.items()
    }


def _padded(values, behind, size, fill):
    """[size, …] of [n, …] values, with `behind` more at the end."""
    amounts = [[0, behind]] + [[0, 0]] * (values.shape.rank - 1)
    return tf.ensure_shape(
        tf.pad(values, amounts, constant_values=tf.cast(fill, values.dtype)),
        [size, *values.shape[1:]],
    )


def _require_alike(name, parts):
    counts = tf.stack([tf.shape(values)[0] for values in parts.values()])
    rule = (
        name
        + " must have a row for each row of its numeric features and label. Received: {} rows. "
        "Give them one length."
    )
    return _require(tf.reduce_all(counts == counts[0]), rule, counts[:3])


def _require_at_most(name, count, size):
    rule = (
        f"{name} must hold at most {size} samples, as given at export. Received: {{}}. "
        "Send fewer, or export for more."
    )
    return _require(count <= size, rule, count)


def _require_finite(name, numeric):
    rule = (
        f"{name} must be finite, as in training. Received: {{}}. Send the mean for what is missing."
    )
    finite = tf.math.is_finite(numeric)
    return _require(tf.reduce_all(finite), rule, tf.boolean_mask(numeric, ~finite))


def _require_label(label, *, chances):
    within, rule = (
        ((label >= 0) & (label <= 1), "lie in [0, 1]")
        if chances
        else (tf.math.is_finite(label), "be finite")
    )  # NaN is neither
    message = (
        f"support_label must {rule}, as in training. Received: {{}}. "
        "Leave out samples without a label."
    )
    return _require(tf.reduce_all(within), message, label)


def _require(holds, rule, received):
    """An operation that ends the request with a message unless `holds`."""
    return tf.debugging.Assert(holds, [tf.strings.format(rule, received)])
