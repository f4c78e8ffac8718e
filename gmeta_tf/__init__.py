"""gmeta_tf: optimisation-based meta-learning for recommenders, hybrid-parallel, on TensorFlow and
Horovod.
"""

from gmeta_tf import _tensorflow as _tensorflow  # first: Keras 2, quiet start-up
from gmeta_tf.embedding.layer import ShardedEmbedding
from gmeta_tf.embedding.optimizers import RowAdagrad, RowAdam, RowFTRL, RowSGD, RowwiseAdagrad
from gmeta_tf.job import comm
from gmeta_tf.meta.first_weights import FirstWeights
from gmeta_tf.meta.inner_loop import InnerLoop
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.prepare_table import prepare
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.cbml import CBML
from gmeta_tf.models.melu import MeLU
from gmeta_tf.models.metaemb import MetaEmb
from gmeta_tf.models.towers import DCN, DLRM, MLP, DeepFM, WideDeep
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema
from gmeta_tf.version import __version__

__all__ = [
    "CBML",
    "DCN",
    "DLRM",
    "MLP",
    "Categorical",
    "DeepFM",
    "FirstWeights",
    "InnerLoop",
    "Manifest",
    "MeLU",
    "MetaEmb",
    "MetaModel",
    "MultiHot",
    "Numeric",
    "Reader",
    "RowAdagrad",
    "RowAdam",
    "RowFTRL",
    "RowSGD",
    "RowwiseAdagrad",
    "Schema",
    "ShardedEmbedding",
    "WideDeep",
    "__version__",
    "comm",
    "prepare",
]
