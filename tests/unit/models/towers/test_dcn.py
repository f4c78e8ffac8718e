import numpy as np
import pytest
from tower_by_hand import all_of, dense, inputs, set_biases, through

from gmeta_tf.models.towers import DCN


def crossed(layer, start, x):
    """A cross layer of TFRS in NumPy: equation 1 or 2."""
    if layer._projection_dim is None:
        return start * dense(layer._dense, x) + x
    return start * dense(layer._dense_v, dense(layer._dense_u, x)) + x


def mixed(layer, start, x):
    """A `CrossMix` in NumPy, expert by expert with a bias each: equations 3 and 4."""
    scores = np.exp(dense(layer.gate, x))
    gates, total = scores / scores.sum(1, keepdims=True), 0
    for i, (expert, u) in enumerate(
        zip(layer.experts, np.split(layer.out.kernel.numpy(), len(layer.experts)), strict=True)
    ):
        total += (
            gates[:, i : i + 1]
            * start
            * (through(expert.layers, x, np.tanh) @ u + layer.out.bias.numpy())
        )
    return total + x


@pytest.mark.parametrize(
    "options", [{}, {"rank": 2}, {"rank": 2, "experts": 3}], ids=["whole", "low rank", "experts"]
)
@pytest.mark.parametrize("parallel", [False, True])
def test_equals_numpy(options, parallel):
    tower, batch = DCN((8, 4), parallel=parallel, **options), inputs()
    tower(batch)
    set_biases(tower)
    start = cross = all_of(batch)
    for layer in tower.crosses:
        cross = (mixed if "experts" in options else crossed)(layer, start, cross)
    assert len(tower.crosses) == 2
    hidden = through(tower.hidden.layers, start if parallel else cross)
    last = np.concatenate([cross, hidden], 1) if parallel else hidden
    np.testing.assert_allclose(tower(batch), dense(tower.head, last), rtol=1e-4, atol=1e-6)


def test_weights():
    shapes = {}
    for rank in (0, 2):
        tower = DCN((7,), layers=1, rank=rank)
        tower(inputs())
        shapes[rank] = [v.shape.as_list() for v in tower.trainable_variables[:-4]]
    assert shapes == {0: [[15, 15], [15]], 2: [[15, 2], [2, 15], [15]]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layers": 0},
            r"layers must be at least 1\. Received: layers=0\. Leave it out for the default\.",
        ),
        ({"rank": -1}, r"rank must be at least 0\. Received: rank=-1\."),
        ({"experts": 0}, r"experts must be at least 1\. Received: experts=0\."),
        (
            {"experts": 2},
            r"rank must be at least 1 with experts\. Received: rank=0 with 2 experts\. Give their rank\.",
        ),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        DCN(**options)
