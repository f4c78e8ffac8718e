"""A walk over what a GPU would be given: the operations of a graph outside of compiled programs."""

import dataclasses

from tensorflow.python.framework.kernels import get_registered_kernels_for_op

from gmeta_tf._tensorflow import tf

COMPILED = "_XlaMustCompile"
NO_WORK = {"Const", "Placeholder", "NoOp", "Identity", "IdentityN"}  # for which nothing is launched
LARGE = 64  # values, beyond which an argument in host memory is a copy worth a word


@dataclasses.dataclass(frozen=True)
class Outside:
    """Operations of a graph, and of the functions that it calls, outside of compiled programs.

    Attributes:
      operations: those for which something is launched.
      programs: number of compiled programs.
    """

    operations: list
    programs: int

    @classmethod
    def of(cls, graph: tf.Graph) -> "Outside":
        """Walks a graph."""
        found, programs = [], 0
        for op in graph.get_operations():
            if COMPILED in op.node_def.attr and op.get_attr(COMPILED):
                programs += 1
                continue
            called = list(_functions(op))
            for function in called:
                inside = cls.of(function.graph)
                found += inside.operations
                programs += inside.programs
            if not called and op.type not in NO_WORK:
                found.append(op)
        return cls(found, programs)


def _functions(op):
    for name in ("f", "then_branch", "else_branch", "body", "cond"):
        if name in op.node_def.attr and op.node_def.attr[name].func.name:
            yield op.graph._get_function(op.node_def.attr[name].func.name)
    for function in op.node_def.attr["branches"].list.func:
        yield op.graph._get_function(function.name)


def without_kernel(op) -> str | None:
    """Why a GPU cannot run an operation where its data lie, or None."""
    kernels = [
        kernel
        for kernel in get_registered_kernels_for_op(op.type).kernel
        if kernel.device_type in ("GPU", "DEFAULT") and _fits(kernel, op)
    ]
    if not kernels:
        return f"{op.type} of {[t.dtype.name for t in op.inputs]} has no kernel for a GPU"
    large = [tensor for tensor in [*op.inputs, *op.outputs] if _is_large(tensor)]
    in_host_memory = any(
        argument in kernel.host_memory_arg for kernel in kernels[:1] for argument in _arguments(op)
    )
    if large and in_host_memory and all(_on_host(op, tensor, kernels) for tensor in large):
        return f"{op.type} of {[t.dtype.name for t in large]} wants its data in host memory"
    return None


def _fits(kernel, op):
    for constraint in kernel.constraint:
        if constraint.name not in op.node_def.attr:
            return False
        if op.node_def.attr[constraint.name].type not in constraint.allowed_values.list.type:
            return False
    return True


def _arguments(op):
    return [argument.name for argument in (*op.op_def.input_arg, *op.op_def.output_arg)]


def _on_host(op, tensor, kernels):
    names = {}
    for argument, value in zip(op.op_def.input_arg, op.inputs, strict=False):
        names[id(value)] = argument.name
    for argument, value in zip(op.op_def.output_arg, op.outputs, strict=False):
        names[id(value)] = argument.name
    name = names.get(id(tensor))
    return any(name in kernel.host_memory_arg for kernel in kernels)


def _is_large(tensor):
    size = tensor.shape.num_elements()
    return tensor.dtype not in (tf.resource, tf.variant) and (size is None or size > LARGE)
