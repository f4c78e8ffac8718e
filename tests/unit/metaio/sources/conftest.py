"""Log and side files of a few lines."""

import pytest

from gmeta_tf.metaio.sources.files import Files


@pytest.fixture
def files(tmp_path):
    def made(name, text=None):
        if text is not None:
            (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return Files((str(tmp_path / name),))

    return made
