"""Towers by name, as experiments and plans know them."""

from gmeta_tf._tensorflow import tf
from gmeta_tf.models.towers.dcn import DCN
from gmeta_tf.models.towers.deepfm import DeepFM
from gmeta_tf.models.towers.dlrm import DLRM
from gmeta_tf.models.towers.mlp import MLP
from gmeta_tf.models.towers.wide_deep import WideDeep

TOWERS = ("dlrm", "mlp", "dcn", "deepfm", "wide_deep")


def make_tower(
    name: str, *, dim: int, bottom=(), top=(), cross_layers: int = 2, cross_rank: int = 0, **hidden
) -> tf.keras.Model:
    """A tower of these widths, each of which it takes as far as it has such layers.

    Args:
      name: one of `TOWERS`.
      dim: width of every embedding row.
      bottom: widths of the bottom MLP's hidden layers (dlrm).
      top: widths of the other hidden layers.
      cross_layers: number of cross layers (dcn).
      cross_rank: of the kernels of cross layers; 0 keeps them whole (dcn).
      **hidden: `activation` and `dropout`.

    Raises:
      ValueError: there is no such tower, or as the tower.
    """
    match name:
        case "dlrm":
            return DLRM(dim, bottom=bottom, top=top, **hidden)
        case "mlp":
            return MLP(top, **hidden)
        case "dcn":
            return DCN(top, layers=cross_layers, rank=cross_rank, **hidden)
        case "deepfm":
            return DeepFM(dim, units=top, **hidden)
        case "wide_deep":
            return WideDeep(dim, units=top, **hidden)
    raise ValueError(f"tower must be one of {TOWERS}. Received: tower={name!r}. Use one of them.")
