"""Runs any Keras model with given tensors in place of its variables.

The Keras-2 form of a stateless call: for the span of one call, the attribute in which a layer keeps
a variable holds a tensor. Fast weights are values that flow, so gradients of any order pass through
them.
"""

import contextlib

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import DenseOfParts, LowRankKernel, dense_call


class Substitution:
    """The places where a model keeps some of its variables.

    Args:
      model: a built Keras model or layer.
      variables: those to replace; one that is kept in several places is replaced in all.

    Raises:
      ValueError: a variable is no attribute of any layer of the model (kept in a list, say).
    """

    def __init__(self, model: tf.Module, variables: list[tf.Variable]):
        modules = [model, *model.submodules]
        self._places = []
        for variable in variables:
            found = [
                (module, name)
                for module in modules
                for name, held in vars(module).items()
                if held is variable
            ]
            if not found:
                raise ValueError(
                    "adapted variables must be attributes of a layer. Received: "
                    f"{variable.name!r}, which no layer of "
                    f"{model.name!r} holds by name. Keep it as `self.<name>`, or leave it out of "
                    "the adaptation policy."
                )
            self._places.append((variable, found))

    @property
    def dense_kernels(self) -> list[bool]:
        """By variable: whether it is the kernel of one Dense layer and nothing else, which a
        `LowRankKernel` may replace.
        """
        return [
            len(found) == 1
            and type(found[0][0]) in (tf.keras.layers.Dense, DenseOfParts)
            and found[0][1] == "kernel"
            for _, found in self._places
        ]

    def layer_of(self, variable: tf.Variable) -> tf.Module:
        """The layer that keeps one of the variables, the first if there are several."""
        return next(found[0][0] for own, found in self._places if own is variable)

    @contextlib.contextmanager
    def __call__(self, weights: list[tf.Tensor | LowRankKernel]):
        """Within the body, the model computes with `weights`, in the order of the variables."""
        try:
            for weight, (_, found) in zip(weights, self._places, strict=True):
                for module, name in found:
                    if isinstance(weight, LowRankKernel):
                        vars(module)["call"] = dense_call(module, weight)
                    vars(module)[name] = _as_layer_computes(weight, module)
            yield
        finally:
            for variable, found in self._places:
                for module, name in found:
                    vars(module)[name] = variable
                    vars(module).pop("call", None)


def _as_layer_computes(weight, module):
    """A tensor in the dtype in which a layer of mixed precision reads its variables."""
    if (
        isinstance(weight, tf.Tensor)
        and weight.dtype.is_floating
        and isinstance(module, tf.keras.layers.Layer)
        and module._autocast
    ):
        return tf.cast(weight, module.compute_dtype)
    return weight


def call_graph(model: tf.keras.Model, inputs) -> tf.Graph:
    """The graph of a call with training=True.

    Args:
      model: a built Keras model or layer.
      inputs: a structure of TensorSpecs or tensors that the model takes.
    """

    def call(inputs):
        return model(inputs, training=True)

    return tf.function(call, autograph=False).get_concrete_function(inputs).graph


def refuse_state_updates(model: tf.keras.Model, graph: tf.Graph):
    """Raises if a call with training=True updates a variable, as BatchNorm's moving averages.

    Such an update cannot mean one thing per task. Dropout and LayerNorm pass.

    Args:
      model: a built Keras model or layer.
      graph: of its call.

    Raises:
      ValueError: names the variables that the call would update.
    """
    updated = [
        v.name
        for v in model.variables
        if any(v.handle is outer and _written(inner) for outer, inner in graph.captures)
    ]
    if updated:
        raise ValueError(
            "tower must not update state when it is called. Received: a call with training=True "
            f"updates {updated}. "
            "Use LayerNormalization in place of BatchNormalization, or set the layer's trainable "
            "to False."
        )


def stopped_gradients(graph: tf.Graph) -> list[str]:
    """Names of the operations of a call at which gradients stop.

    Some layers stop a gradient where it is zero to first order, as LayerNormalization at the mean
    in float64 or with an epsilon below 1.001e-5: a second-order gradient through these is wrong.
    """
    return [op.name for op in graph.get_operations() if op.type == "StopGradient"]


def _written(handle):
    """Whether an operation on a variable's handle may write to it; functions called with it are
    looked into.
    """
    for op in handle.consumers():
        if op.type.startswith("Assign") or op.type.startswith("ResourceScatter"):
            return True
        places = [i for i, given in enumerate(op.inputs) if given is handle]
        for name in ("f", "then_branch", "else_branch", "body"):
            if name in op.node_def.attr:
                graph = op.graph._get_function(op.node_def.attr[name].func.name).graph
                shift = 1 if op.type in ("If", "StatelessIf") else 0  # the predicate comes first
                if any(_written(graph.inputs[place - shift]) for place in places):
                    return True
    return False
