"""What a tower computes, layer by layer, as far as a plan needs it: widths, parameters and matrix
products.

The towers are those of `models.towers`.
"""

import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class Op:
    """One matrix product of a tower: a Dense layer, or the dot products of all pairs of vectors.

    Attributes:
      name: of the layer.
      inputs: width of what a kernel multiplies; of dot products, the width of a vector.
      outputs: width of the result.
      dots: whether vectors multiply each other, without a kernel.
      bias: whether there is one beside the kernel.
      after_rows: whether its input depends on embedding rows.
      last: whether it is the tower's head.
      apart: columns of its input that depend on embedding rows alone, kept apart from those that
        depend on the tower's weights (see `meta.low_rank.DenseOfParts`).
    """

    name: str
    inputs: int
    outputs: int
    dots: bool = False
    bias: bool = True
    after_rows: bool = True
    last: bool = False
    apart: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the product for one sample, forward."""
        return 2 * self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        """Kernel and bias."""
        return 0 if self.dots else (self.inputs + self.bias) * self.outputs


def mlp(features: int, *, dim: int, hidden: tuple[int, ...], numeric: int = 0) -> tuple[Op, ...]:
    """The layers of `models.towers.MLP`, over `features` vectors of `dim` and some numbers side by
    side.
    """
    return _dense("mlp", (features * dim + numeric, *hidden, 1), ends=True)


def dlrm(
    features: int, *, dim: int, bottom: tuple[int, ...], top: tuple[int, ...], numeric: int = 0
) -> tuple[Op, ...]:
    """The layers of `models.towers.DLRM`, over `features` vectors of `dim` and some numbers."""
    below = _dense("bottom", (numeric, *bottom, dim), after_rows=False) if numeric else ()
    vectors = features + bool(numeric)
    first, *others = _dense("top", (_pairs(vectors) + vectors * dim, *top, 1), ends=True)
    if numeric:  # whose dot products with the others take no product of matrices
        first = dataclasses.replace(first, apart=_pairs(features) + features * dim)
    return (*below, _dots(features, dim), first, *others)


def dcn(
    features: int, *, dim: int, hidden: tuple[int, ...], layers: int, rank: int, numeric: int = 0
) -> tuple[Op, ...]:
    """The layers of `models.towers.DCN`, stacked and of one expert, over `features` vectors of
    `dim` and some numbers.
    """
    width = features * dim + numeric
    crosses: list[Op] = []
    for i in range(layers):
        if rank:
            crosses += [
                Op(f"cross_{i}_v", width, rank, bias=False),
                Op(f"cross_{i}_u", rank, width),
            ]
        else:
            crosses.append(Op(f"cross_{i}", width, width))
    return (*crosses, *_dense("deep", (width, *hidden, 1), ends=True))


def deepfm(features: int, *, dim: int, hidden: tuple[int, ...], numeric: int = 0) -> tuple[Op, ...]:
    """The layers of `models.towers.DeepFM`, over `features` vectors of `dim` and some numbers; its
    pairs take no product of matrices.
    """
    deep = (features * dim + numeric, *hidden)
    return (*_dense("deep", deep), _head(deep[0], deep[-1]))


def wide_deep(
    features: int, *, dim: int, hidden: tuple[int, ...], numeric: int = 0
) -> tuple[Op, ...]:
    """The layers of `models.towers.WideDeep`, over `features` vectors of `dim` and some numbers."""
    deep = (features * dim + numeric, *hidden)
    return (
        _dots(features, dim),
        *_dense("deep", deep),
        _head(deep[0] + _pairs(features), deep[-1]),
    )


def parameters(tower: tuple[Op, ...]) -> int:
    """Dense weights of a tower."""
    return sum(op.parameters for op in tower)


def _dots(vectors, dim):
    # All of them are computed, half are kept.
    return Op("dots", dim, vectors * vectors, dots=True, apart=dim)


def _head(apart, hidden):
    return Op("head", apart + hidden, 1, last=True, apart=apart)


def _pairs(vectors):
    return vectors * (vectors - 1) // 2


def _dense(name, widths, *, after_rows=True, ends=False):
    pairs = list(itertools.pairwise(widths))
    return tuple(
        Op(f"{name}_{i}", inputs, outputs, after_rows=after_rows, last=ends and i == len(pairs) - 1)
        for i, (inputs, outputs) in enumerate(pairs)
    )
