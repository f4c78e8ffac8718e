import pytest
from small_log import source


@pytest.mark.parametrize("order_by", [(), "time"])
def test_an_order_is_a_tuple(order_by):
    message = rf"order_by must be a tuple of columns, at least one. Received: order_by={order_by!r}. Name one"
    with pytest.raises(ValueError, match=message.replace("()", r"\(\)")):
        source(order_by=order_by)
