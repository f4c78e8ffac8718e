"""Runs any Keras model with given tensors in place of its variables.

The Keras-2 form of a stateless call: for the span of one call, the attribute in which a layer keeps a variable holds a
tensor. Fast weights are values that flow, so gradients of any order pass through them.
"""

import contextlib

from gmeta_tf._tensorflow import tf


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
            found = [(vars(module), name) for module in modules for name, held in vars(module).items() if held is variable]
            if not found:
                raise ValueError(
                    f"adapted variables must be attributes of a layer. Received: {variable.name!r}, which no layer of "
                    f"{model.name!r} holds by name. Keep it as `self.<name>`, or leave it out of the adaptation policy."
                )
            self._places.append((variable, found))

    @contextlib.contextmanager
    def __call__(self, tensors: list[tf.Tensor]):
        """Within the body, the model computes with `tensors`, in the order of the variables."""
        try:
            for tensor, (_, found) in zip(tensors, self._places, strict=True):
                for attributes, name in found:
                    attributes[name] = tensor
            yield
        finally:
            for variable, found in self._places:
                for attributes, name in found:
                    attributes[name] = variable


def refuse_state_updates(model: tf.keras.Model, inputs):
    """Raises if a call with training=True updates a variable, as BatchNorm's moving averages.

    Such an update cannot mean one thing per task. Dropout and LayerNorm pass.

    Args:
      model: a built Keras model or layer.
      inputs: a structure of TensorSpecs or tensors that the model takes.

    Raises:
      ValueError: names the variables that the call would update.
    """
    graph = _graph(model, inputs)
    updated = [v.name for v in model.variables if any(v.handle is outer and _written(inner) for outer, inner in graph.captures)]
    if updated:
        raise ValueError(
            f"tower must not update state when it is called. Received: a call with training=True updates {updated}. "
            "Use LayerNormalization in place of BatchNormalization, or set the layer's trainable to False."
        )


def stopped_gradients(model: tf.keras.Model, inputs) -> list[str]:
    """Names of the operations of a call with training=True at which gradients stop; arguments as for `refuse_state_updates`.

    Some layers stop a gradient where it is zero to first order, as LayerNormalization at the mean in float64 or with an
    epsilon below 1.001e-5: a second-order gradient through these is wrong.
    """
    return [op.name for op in _graph(model, inputs).get_operations() if op.type == "StopGradient"]


def _graph(model, inputs):
    return tf.function(lambda x: model(x, training=True)).get_concrete_function(inputs).graph


def _written(handle):
    """Whether an operation on a variable's handle may write to it; functions called with it are looked into."""
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
