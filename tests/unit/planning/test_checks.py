"""Rules for attributes."""

import dataclasses

import pytest

from gmeta_tf.planning.checks import require


@dataclasses.dataclass(frozen=True)
class Pair:
    given: int
    usual: int = 3


def test_a_rule_that_holds_says_nothing():
    require(Pair(1), "given", "be 1", True)


def test_the_error_tells_rule_value_and_default():
    with pytest.raises(ValueError, match=r"^given must be 2. Received: given=1. Mend it.$"):
        require(Pair(1), "given", "be 2", False)
    with pytest.raises(
        ValueError, match=r"^usual must be 2. Received: usual=5. Its default is 3.$"
    ):
        require(Pair(1, 5), "usual", "be 2", False)
