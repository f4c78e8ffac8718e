"""What errors mean to who runs a command."""

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.cli.errors import told


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("a must be\n b."), "a must be b."),
        (FileNotFoundError(2, "No such file", "x.csv"), "x.csv cannot be used: No such file."),
        (OSError(28, "No space left"), "No space left"),
        (
            tf.errors.ResourceExhaustedError(None, None, "oom"),
            "memory or disk did not suffice (oom).",
        ),
        (
            tf.errors.InvalidArgumentError(
                None, None, "assertion failed: [ids must lie in their table. Received: 9.] [x]"
            ),
            "ids must lie in their table. Received: 9.",
        ),
        (
            tf.errors.DataLossError(None, None, "corrupted"),
            "files must be readable. Received: corrupted.",
        ),
    ],
)
def test_one_sentence(error, message):
    assert told(error) == message
