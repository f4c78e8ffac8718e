"""Batches on their way to the device: packed, checked, or refused in words that are true."""

import numpy as np
import pytest

from gmeta_tf import MLP, MetaModel, Reader
from gmeta_tf._tensorflow import tf
from gmeta_tf.models.feed import fed

BATCH = 8


@pytest.fixture
def reader(tiny):
    return Reader(tiny, "train", global_batch_tasks=BATCH)


@pytest.fixture
def admission(reader):
    model = MetaModel(reader.schema, MLP((4,)), embedding_dim=4)
    model.compile("sgd")
    return model.admission


def test_batches_come_as_they_are_in_fewer_arrays(reader, admission):
    for batch, packed in zip(reader.dataset(), fed(reader.dataset(), admission), strict=True):
        for part, own in zip(batch, packed, strict=True):
            found = admission.unpack(own)
            for name in ("numeric", "label", "weight"):
                np.testing.assert_array_equal(found[name], part[name])
            real = part["weight"].numpy() > 0
            np.testing.assert_array_equal(found["ids"][real], part["ids"][real])
            assert np.all(found["ids"][~real] == -1)


def test_batches_wait_on_the_gpu_where_there_is_one(reader, admission, monkeypatch):
    devices = []
    monkeypatch.setattr(
        tf.config, "get_visible_devices", lambda kind: ["a GPU"] if kind == "GPU" else []
    )
    monkeypatch.setattr(
        tf.data.experimental,
        "prefetch_to_device",
        lambda device, _: lambda dataset: devices.append(device) or dataset,
    )
    assert fed(reader.stream(), admission).options().autotune.enabled is False
    assert devices == ["/GPU:0"]


def samples(size):
    return {
        "ids": np.zeros([2, size, 1], np.int64),
        "numeric": np.zeros([2, size, 0], np.float32),
        "label": np.zeros([2, size], np.float32),
        "weight": np.ones([2, size], np.float32),
    }


def test_what_yields_no_batches_is_refused(admission):
    message = (
        r"data must yield pairs \(support, query\) of dictionaries with .* Received: .* Take a"
    )
    for element in (samples(3), (samples(3), {"ids": np.zeros(3)})):
        with pytest.raises(ValueError, match=message):
            fed(tf.data.Dataset.from_tensors(element), admission)


def test_sets_of_unknown_size_are_refused(admission):
    spec = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, None, *part.shape[2:]], part.dtype),
        (samples(3), samples(3)),
    )
    batches = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec)
    with pytest.raises(
        ValueError,
        match=r"support must have one number of samples, which is known. Received: ids of shape",
    ):
        fed(batches, admission)
