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
      copies: arrays that come from the host: what the graph is given, and what an operation
        outside of programs wants or leaves in the host's memory.
    """

    operations: list
    programs: int
    copies: list

    @classmethod
    def of(cls, graph: tf.Graph) -> "Outside":
        """Walks a graph."""
        found, programs = [], 0
        copies = [tensor for tensor in graph.inputs if _is_large(tensor)]
        for op in graph.get_operations():
            if COMPILED in op.node_def.attr and op.get_attr(COMPILED):
                programs += 1
                continue
            called = list(_functions(op))
            for function in called:
                inside = cls.of(function.graph)
                found += inside.operations
                programs += inside.programs
                copies += inside.copies[len([t for t in inside_inputs(function) if _is_large(t)]) :]
            if not called and op.type not in NO_WORK:
                found.append(op)
                copies += [tensor for tensor in _in_host_memory(op) if _is_large(tensor)]
        return cls(found, programs, copies)


def inside_inputs(function):
    """What a function is given by the graph that calls it: no copies of its own."""
    return function.graph.inputs


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
    large = [tensor for tensor in _in_host_memory(op) if _is_large(tensor)]
    if large:
        return f"{op.type} of {[t.dtype.name for t in large]} wants its data in host memory"
    return None


def _in_host_memory(op):
    """The arguments and results of an operation that its kernel for a GPU has in host memory."""
    kernels = [
        kernel
        for kernel in get_registered_kernels_for_op(op.type).kernel
        if kernel.device_type in ("GPU", "DEFAULT") and _fits(kernel, op)
    ]
    names = kernels[0].host_memory_arg if kernels else ()
    pairs = [
        *_named(op, op.op_def.input_arg, op.inputs),
        *_named(op, op.op_def.output_arg, op.outputs),
    ]
    return [tensor for name, tensor in pairs if name in names]


def _named(op, arguments, tensors):
    """(name of its argument, tensor) for all of these; an argument may be a list."""
    tensors = iter(tensors)
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = op.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            count = len(op.get_attr(argument.type_list_attr))
        for _ in range(count):
            yield argument.name, next(tensors)


def _fits(kernel, op):
    for constraint in kernel.constraint:
        if constraint.name not in op.node_def.attr:
            return False
        if op.node_def.attr[constraint.name].type not in constraint.allowed_values.list.type:
            return False
    return True


def _is_large(tensor):
    size = tensor.shape.num_elements()
    return tensor.dtype not in (tf.resource, tf.variant) and (size is None or size > LARGE)
