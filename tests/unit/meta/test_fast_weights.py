import numpy as np
import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.fast_weights import Substitution, call_graph, refuse_state_updates

KERAS = tf.keras.layers


def dense(value=2.0, units=1, inputs=1):
    """x ↦ value · x, one weight."""
    layer = KERAS.Dense(
        units, use_bias=False, kernel_initializer=tf.keras.initializers.Constant(value)
    )
    layer.build([None, inputs])
    return layer


def two_layers():
    model = tf.keras.Sequential([KERAS.Dense(3, "tanh"), KERAS.Dense(1)])
    model.build([None, 2])
    return model


class Tied(tf.keras.Model):
    """One kernel, held by two layers and by the model itself."""

    def __init__(self):
        super().__init__(name="tied")
        self.one, self.two = dense(), dense()
        self.two.kernel = self.kernel = self.one.kernel

    def call(self, inputs, training=None):
        return self.two(self.one(inputs)) + self.kernel


class InList(tf.keras.Model):
    def __init__(self):
        super().__init__(name="in_list")
        self.kernels = [tf.Variable([[2.0]], name="kernel_of_list")]

    def call(self, inputs, training=None):
        return inputs @ self.kernels[0]


def test_the_model_computes_with_the_tensors():
    layer, x = dense(2.0), tf.constant([[3.0]])
    with Substitution(layer, [layer.kernel])([tf.constant([[5.0]])]):
        assert float(layer(x)) == 15
    assert float(layer(x)) == 6


def test_variables_keep_their_values_and_places():
    model = two_layers()
    variables, values = list(model.trainable_variables), model.get_weights()
    with Substitution(model, variables)([tf.zeros_like(v) for v in variables]):
        assert not np.any(model(tf.ones([4, 2])))
    assert all(
        now is before for now, before in zip(model.trainable_variables, variables, strict=True)
    )
    assert model.layers[0].kernel is variables[0]
    assert all(
        np.array_equal(now, before) for now, before in zip(model.get_weights(), values, strict=True)
    )


def test_some_of_the_variables_in_any_order():
    model, x = two_layers(), tf.constant([[1.0, -1.0]])
    kernel, bias = model.layers[1].kernel, model.layers[0].bias
    hidden = np.tanh(x.numpy() @ model.layers[0].kernel.numpy() + [1, 2, 3])
    with Substitution(model, [kernel, bias])(
        [tf.constant([[1.0], [0], [0]]), tf.constant([1.0, 2, 3])]
    ):
        assert float(model(x)) == pytest.approx(hidden[0, 0], rel=1e-6)


def test_gradients_of_any_order_flow():
    """L(w) = (3 w)²; w' = w - 0.1 · 18 w = -0.8 w; L(w') = 5.76 w², of gradient 11.52 w and
    curvature 11.52.
    """
    layer, x = dense(2.0), tf.constant([[3.0]])
    substitution = Substitution(layer, [layer.kernel])

    def loss(kernel):
        with substitution([kernel]):
            return tf.reduce_sum(layer(x) ** 2)

    def adapted(kernel, stop):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            inner = loss(kernel)
        gradient = tape.gradient(inner, kernel)
        return kernel - 0.1 * (tf.stop_gradient(gradient) if stop else gradient)

    with tf.GradientTape(persistent=True) as outer, tf.GradientTape(persistent=True) as tape:
        second_order = loss(adapted(tf.convert_to_tensor(layer.kernel), False))
        first_order = loss(adapted(tf.convert_to_tensor(layer.kernel), True))
        gradient = tape.gradient(second_order, layer.kernel)
    assert float(second_order) == pytest.approx(5.76 * 4)
    assert float(gradient) == pytest.approx(11.52 * 2)
    assert float(tape.gradient(first_order, layer.kernel)) == pytest.approx(18 * -0.8 * 2)
    assert float(outer.gradient(gradient, layer.kernel)) == pytest.approx(11.52)


def test_the_variable_gets_no_gradient_while_replaced():
    layer = dense(2.0)
    with tf.GradientTape() as tape, Substitution(layer, [layer.kernel])([tf.constant([[5.0]])]):
        y = layer(tf.constant([[3.0]]))
    assert tape.gradient(y, layer.kernel) is None


def test_restored_after_an_exception():
    layer = dense(2.0)
    kernel = layer.kernel
    with (
        pytest.raises(RuntimeError, match="inside"),
        Substitution(layer, [kernel])([tf.constant([[5.0]])]),
    ):
        raise RuntimeError("inside")
    assert layer.kernel is kernel


@pytest.mark.parametrize(
    "tensors", [[], [tf.ones([2, 3])], [tf.ones([2, 3])] * 5], ids=["none", "one", "five"]
)
def test_refuses_another_number_of_tensors_and_restores(tensors):
    model = two_layers()
    variables = list(model.trainable_variables)
    with (
        pytest.raises(ValueError, match=r"zip\(\) argument 2 is (longer|shorter)"),
        Substitution(model, variables)(tensors),
    ):
        pytest.fail("the body must not run")
    assert all(
        now is before for now, before in zip(model.trainable_variables, variables, strict=True)
    )
    assert model.layers[0].kernel is variables[0]


def test_tied_weights_are_replaced_everywhere():
    model, x = Tied(), tf.constant([[1.0]])
    assert float(model(x)) == 2 * 2 + 2
    with Substitution(model, [model.kernel])([tf.constant([[3.0]])]):
        assert float(model(x)) == 3 * 3 + 3
    assert model.one.kernel is model.two.kernel is model.kernel
    assert float(model(x)) == 6


def test_works_inside_a_vectorized_map():
    layer = dense(2.0)
    substitution = Substitution(layer, [layer.kernel])

    def score(kernel):
        with substitution([kernel]):
            return layer(tf.constant([[3.0]]))[0, 0]

    kernels = tf.reshape(tf.constant([1.0, 2.0, 4.0]), [3, 1, 1])
    assert tf.vectorized_map(score, kernels, fallback_to_while_loop=False).numpy().tolist() == [
        3,
        6,
        12,
    ]


def test_refuses_a_variable_kept_in_a_list():
    model = InList()
    message = r"adapted variables must be attributes of a layer\. Received: 'kernel_of_list:0', which no layer of 'in_list' holds by name\."
    with pytest.raises(ValueError, match=message):
        Substitution(model, model.trainable_variables)


def test_refuses_batch_normalization_and_names_its_variables():
    model = tf.keras.Sequential([KERAS.Dense(3), KERAS.BatchNormalization(name="norm")])
    model.build([None, 2])
    message = (
        r"tower must not update state when it is called\. Received: a call with training=True updates "
        r"\['norm/moving_mean:0', 'norm/moving_variance:0'\]\. Use LayerNormalization"
    )
    with pytest.raises(ValueError, match=message):
        refuse_state_updates(model, call_graph(model, tf.TensorSpec([None, 2])))


class Counting(KERAS.Layer):
    """Counts its calls, in one of several ways."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def build(self, shape):
        self.calls = self.add_weight("calls", shape=[1], initializer="zeros", trainable=False)

    def call(self, inputs, training=None):
        one = tf.ones([1])
        if self.how == "assign":
            self.calls.assign(self.calls + one)
        elif self.how == "scatter":
            self.calls.scatter_add(tf.IndexedSlices(one, tf.constant([0])))
        elif self.how == "cond":
            tf.cond(
                tf.reduce_sum(inputs) >= 0,
                lambda: self.calls.assign_add(one),
                lambda: tf.identity(self.calls),
            )
        elif self.how == "function":
            tf.function(lambda: self.calls.assign_add(one))()
        return inputs


@pytest.mark.parametrize("how", ["assign", "scatter", "cond", "function"])
def test_refuses_state_updates_however_they_are_made(how):
    layer = Counting(how)
    layer(tf.zeros([1, 2]))
    with pytest.raises(ValueError, match=r"tower must not update state .*calls:0'\]\. "):
        refuse_state_updates(layer, call_graph(layer, tf.TensorSpec([None, 2])))


@pytest.mark.parametrize(
    "layer",
    [
        KERAS.Dropout(0.5),
        KERAS.LayerNormalization(),
        KERAS.GaussianNoise(0.1),
        KERAS.BatchNormalization(trainable=False),
        Counting("nothing"),
    ],
    ids=[
        "Dropout",
        "LayerNormalization",
        "GaussianNoise",
        "frozen BatchNormalization",
        "unchanged state",
    ],
)
def test_passes_layers_without_state_updates(layer):
    model = tf.keras.Sequential([KERAS.Dense(3), layer])
    model.build([None, 2])
    values = model.get_weights()
    refuse_state_updates(model, call_graph(model, tf.TensorSpec([None, 2])))
    assert all(
        np.array_equal(now, before) for now, before in zip(model.get_weights(), values, strict=True)
    )


def test_the_check_itself_updates_nothing():
    layer = Counting("assign")
    layer.build([None, 2])
    with pytest.raises(ValueError, match="must not update state"):
        refuse_state_updates(layer, call_graph(layer, tf.TensorSpec([None, 2])))
    assert layer.calls.numpy().tolist() == [0]
