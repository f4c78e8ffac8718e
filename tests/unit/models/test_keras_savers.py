"""What a meta-model has not is said by any model of its kind; `test_keras_page.py` has the rows of
the page.
"""

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.models.keras_savers import KerasSavers, require_one_rank


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda model: model.save("a.keras"), r"schema and its rows' slots. Received: save. Use "),
        (lambda model: model.export("a"), r"with its data's manifest. Received: export. Use gmeta"),
        (lambda model: model.get_config(), r"schema and a tower. Received: get_config. Build it"),
        (lambda model: model.add_loss(1.0), r"one loss .* Received: add_loss. Use compile\(loss=…"),
        (lambda model: model.add_metric(1.0), r"add up over ranks. Received: add_metric. Use comp"),
        (lambda model: model(tf.zeros([1])), r"before it scores. Received: a call of the model. "),
    ],
    ids=lambda value: value[-20:] if isinstance(value, str) else "",
)
def test_what_there_is_not_names_what_to_use(call, told):
    with pytest.raises(NotImplementedError, match=rf"^A meta-model must .*{told}"):
        call(KerasSavers())


def test_weights_are_saved_and_loaded_by_one_rank(tmp_path, monkeypatch):
    model = KerasSavers()
    model.part = tf.keras.layers.Dense(1)
    model.part.build([None, 2])
    model.built = True
    kept = model.part.kernel.numpy()
    model.save_weights(tmp_path / "a.weights.h5")
    model.part.kernel.assign(kept + 1)
    model.load_weights(tmp_path / "a.weights.h5")
    assert model.part.kernel.numpy().tolist() == kept.tolist()
    monkeypatch.setattr(comm, "size", lambda: 3)
    for method in (model.save_weights, model.load_weights):
        name = method.__name__
        with pytest.raises(NotImplementedError, match=rf"^{name} must be .* Received: 3 ranks. Us"):
            method(tmp_path / "a.weights.h5")


def test_one_rank_may_do_all():
    assert require_one_rank("save_weights", "Use checkpoints") is None
