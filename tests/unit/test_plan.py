"""`python -m gmeta_tf.plan`."""

import jobs


def test_it_is_the_command():
    code, printed = jobs.run(1, "-m", "gmeta_tf.plan", "--help")
    assert code == 0
    assert "usage: gmeta" in printed
    assert "--grid" in printed
