"""What a tower computes, layer by layer, as far as a plan needs it: widths, parameters and matrix products.

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
      after_rows: whether its input depends on embedding rows.
      last: whether it is the tower's head.
    """

    name: str
    inputs: int
    outputs: int
    dots: bool = False
    after_rows: bool = True
    last: bool = False

    @property
    def flops(self) -> int:
        """Floating-point operations of the product for one sample, forward."""
        return 2 * self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        """Kernel and bias."""
        return 0 if self.dots else (self.inputs + 1) * self.outputs


def mlp(features: int, *, dim: int, hidden: tuple[int, ...], numeric: int = 0) -> tuple[Op, ...]:
    """The layers of `models.towers.MLP`, over `features` vectors of `dim` and some numbers side by side."""
    return _dense("mlp", (features * dim + numeric, *hidden, 1), ends=True)


def dlrm(features: int, *, dim: int, bottom: tuple[int, ...], top: tuple[int, ...], numeric: int = 0) -> tuple[Op, ...]:
    """The layers of `models.towers.DLRM`, over `features` vectors of `dim` and some numbers."""
    below = _dense("bottom", (numeric, *bottom, dim), after_rows=False) if numeric else ()
    vectors = features + bool(numeric)
    dots = Op("dots", dim, vectors * vectors, dots=True)  # all of them are computed, half are kept
    pairs = vectors * (vectors - 1) // 2
    return (*below, dots, *_dense("top", (pairs + vectors * dim, *top, 1), ends=True))


def parameters(tower: tuple[Op, ...]) -> int:
    """Dense weights of a tower."""
    return sum(op.parameters for op in tower)


def _dense(name, widths, *, after_rows=True, ends=False):
    pairs = list(itertools.pairwise(widths))
    return tuple(
        Op(f"{name}_{i}", inputs, outputs, after_rows=after_rows, last=ends and i == len(pairs) - 1)
        for i, (inputs, outputs) in enumerate(pairs)
    )
