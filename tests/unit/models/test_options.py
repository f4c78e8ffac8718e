"""Options check themselves as a whole, before anything is assigned."""

import pytest

from gmeta_tf.models.options import StepOptions

REFUSED = {
    "clip_norm": (0.0, "above 0"),
    "task_chunk": (0, "at least 1"),
    "prefetch": (0, "at least 1"),
    "cold_share": (1.0, r"lie in \[0, 1\)"),
    "sizes": ((4, 2), "ascend and be at least 1"),
    "jit_compile": ("always", "True, False or None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    value, rule = REFUSED[name]
    with pytest.raises(ValueError, match=rf"{name} must (be )?{rule}. Received: "):
        StepOptions(**{name: value})


def test_sizes_of_any_sequence():
    assert StepOptions(sizes=[2, 4]).sizes == (2, 4)
