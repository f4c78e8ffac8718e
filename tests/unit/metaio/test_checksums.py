"""What a file is known by; `test_manifest.py` has what is refused of files that stand."""

import hashlib

from gmeta_tf.metaio.checksums import measured


def test_measured(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert measured(str(tmp_path / "file")) == (3, hashlib.sha256(b"abc").hexdigest())
