"""Files of vocabularies: whatever the values are, they are read as they were written."""

import hashlib
import json

import pyarrow
import pytest

from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.metaio.vocabulary_file import Table, save_vocabulary, values_of

VALUES = ("a", "é", 'say "x"', "back\\slash", "two\nlines", "\t", "[1, 2]", "😀", "7", "\x7f", " ")


def vocabulary(values):
    counts = tuple(range(len(values), 0, -1))
    return Vocabulary("frequency", 1 + len(values), values=values, counts=counts)


def of_engine(made):
    """Its lines as the engine gives them: JSON where the text is plain, else value and count."""
    plain = [value.isascii() for value in made.values]
    lines = [
        json.dumps([value, n]) + "\n" if own else None
        for value, n, own in zip(made.values, made.counts, plain, strict=True)
    ]
    values = [None if own else value for value, own in zip(made.values, plain, strict=True)]
    columns = {"line": pyarrow.array(lines, pyarrow.string()), "value": values, "n": made.counts}
    return pyarrow.table(columns).to_batches(max_chunksize=4)


@pytest.mark.parametrize("values", [VALUES, VALUES[:1], ()], ids=len)
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_values_are_read_as_they_were_written(tmp_path, monkeypatch, values, chunk):
    monkeypatch.setattr("gmeta_tf.metaio.vocabulary_file.CHUNK", chunk)
    made = vocabulary(values)
    for number, lines in enumerate((None, of_engine(made) if values else [])):
        table = save_vocabulary(made, tmp_path, number, lines=lines)
        file = tmp_path / table.file
        assert file.name == f"vocabulary-00{number}.jsonl"
        assert values_of(str(file)) == (list(values), list(made.counts))
        assert table.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert table.vocabulary.values == ()


def test_lines_without_a_gap_are_written_as_they_lie(tmp_path):
    plain = vocabulary(tuple("abcdefg"))
    batches = [batch.slice(1) for batch in of_engine(plain)]  # which begin within their buffers
    file = tmp_path / save_vocabulary(plain, tmp_path, 0, lines=batches).file
    assert values_of(str(file)) == (list("bcdfg"), [6, 5, 4, 2, 1])


def test_kinds_without_values_have_no_file(tmp_path):
    made = Vocabulary("hash", 10, 0)
    assert save_vocabulary(made, tmp_path, 0) == Table(made)
    assert not list(tmp_path.iterdir())
