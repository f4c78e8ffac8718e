"""A small compiled model of the tiny data."""

from gmeta_tf import MLP, InnerLoop, MetaModel, RowSGD
from gmeta_tf._tensorflow import tf

BATCH = 8


def make(data, *, tower=None, **options):
    tf.keras.utils.set_random_seed(2)
    model = MetaModel(data.schema, tower or MLP((6,)), embedding_dim=4)
    model.compile(
        **({"row_optimizer": RowSGD(0.1), "inner_loop": InnerLoop(1, 0.5, adapt="all")} | options)
    )
    return model
