"""Towers: Keras models from a sample's features to its logit. They know nothing of tasks, ranks or
tables.

A tower's input is a dictionary: `embedded` [n, width] (the features' vectors side by side; those of
a multi-hot feature are one already) and `numeric` [n, features], which may be none. Its output is
[n, 1] logits, made last by its `head`. Any Keras model of that input and output serves as well.
"""

from gmeta_tf.models.towers.dcn import DCN
from gmeta_tf.models.towers.deepfm import DeepFM
from gmeta_tf.models.towers.dlrm import DLRM
from gmeta_tf.models.towers.factory import TOWERS, make_tower
from gmeta_tf.models.towers.mlp import MLP
from gmeta_tf.models.towers.wide_deep import WideDeep

__all__ = ["DCN", "DLRM", "MLP", "TOWERS", "DeepFM", "WideDeep", "make_tower"]
