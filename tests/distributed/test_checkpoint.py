"""What checkpoints ask of all ranks; `test_ranks.py` runs this file on 2 and 3."""

import pathlib
import tempfile

import numpy as np
import pytest

from gmeta_tf import MLP, InnerLoop, MetaModel, RowSGD, comm
from gmeta_tf._tensorflow import tf
from gmeta_tf.schema import Categorical, Schema
from gmeta_tf.training import checkpoint
from gmeta_tf.training.finite import NotFiniteError
from gmeta_tf.training.run_folder import only_writer, require_shared

rank, size = comm.rank(), comm.size()
SCHEMA = Schema("user", "click", (Categorical("user"), Categorical("item")), {"user": 5, "item": 9})


@pytest.fixture
def shared():
    """A folder that all ranks see."""
    with tempfile.TemporaryDirectory() as own:
        letters = np.zeros(200, np.int32)
        letters[: len(own)] = [ord(letter) for letter in own]
        (of_rank_0,) = comm.broadcast([tf.constant(letters)], name="test.folder")
        yield pathlib.Path("".join(map(chr, of_rank_0.numpy())).rstrip("\0"))
        comm.barrier()


@pytest.fixture
def model():
    tf.keras.utils.set_random_seed(0)
    made = MetaModel(SCHEMA, MLP((3,)), embedding_dim=4, replicate_rows=0)
    made.compile("adam", row_optimizer=RowSGD(0.1), inner_loop=InnerLoop(1))
    return made


def test_a_folder_is_proved_to_be_shared(shared, tmp_path):
    require_shared(shared / "run")
    comm.barrier()
    assert not list((shared / "run").iterdir())
    if size > 1:
        with pytest.raises(ValueError, match=r"folder must be shared by all ranks. Received: "):
            require_shared(tmp_path, seconds=0.3)


def test_one_job_holds_a_folder(shared):
    with only_writer(shared), only_writer(shared):
        pass


def test_a_rank_that_is_not_finite_keeps_all_from_saving(shared, model):
    checkpoint.save(shared, model, step=1, pointers=("last",), state={})
    if rank == size - 1:
        model.embedding.shards[0].assign(tf.fill(model.embedding.shards[0].shape, np.nan))
    with pytest.raises(NotFiniteError, match=rf"Received: NaN or infinity, on rank {size - 1} of"):
        checkpoint.save(shared, model, step=2, pointers=("last",), state={})
    comm.barrier()
    assert checkpoint.find(shared).name == "step-000000001"
    checkpoint.load(checkpoint.find(shared), model)
    assert np.isfinite(model.embedding.shards[0]).all()


def test_a_damaged_file_is_told_on_every_rank(shared, model):
    last = checkpoint.save(shared, model, step=1, pointers=("last",), state={})
    comm.barrier()
    if rank == 0:
        (last / f"table-1.part-0.{size - 1}-of-{size}.npy").write_bytes(b"short")
    comm.barrier()
    with pytest.raises(ValueError, match=r"checkpoint must be whole. Received: .*, of 5 bytes in"):
        checkpoint.load(last, model)
