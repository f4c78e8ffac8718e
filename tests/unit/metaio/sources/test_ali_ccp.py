"""Ali-CCP in its raw format, made from its description."""

import gzip

import numpy as np
import pytest

from gmeta_tf import Reader
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.prepare import prepare
from gmeta_tf.metaio.sources.ali_ccp import COMMON, CROSS, ITEM, SKELETON, USER, ali_ccp
from gmeta_tf.metaio.validate import validate


def listed(*entries):
    """A feature list of (field, id, value)."""
    return "\x01".join(f"{field}\x02{identity}\x03{value}" for field, identity, value in entries)


@pytest.fixture
def raw(tmp_path):
    """Three users of five impressions; user 1 has a history of three categories and two shops."""
    folder = tmp_path / "raw"
    folder.mkdir()
    common, skeleton = [], []
    for user in range(3):
        own = [(field, f"{field}{user}", "1.0") for field in USER]
        own += [("109_14", f"c{n}", f"{n}.5") for n in range(user * 3)][:3] + [
            ("110_14", "s1", "0.5"),
            ("110_14", "s2", "2.5"),
        ] * (user == 1)
        common.append(f"common{user},{len(own)},{listed(*own)}")
        for n in range(5):
            own = [(field, f"{field}{n}", "1.0") for field in (*ITEM, *CROSS[:2], "301")]
            click, conversion = (0, 1) if (user, n) == (2, 4) else (n % 2, int(n == 3))
            skeleton.append(
                f"{user * 10 + n},{click},{conversion},common{user},{len(own)},{listed(*own)}"
            )
    for name, lines in (("common_features", common), ("sample_skeleton", skeleton)):
        (folder / f"{name}_train.csv").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_impressions_of_users(raw, tmp_path):
    made = prepare(
        ali_ccp(raw),
        tmp_path / "out",
        split=Split(query=2, support=3, fractions=(1, 0, 0)),
        lanes=1,
    )
    assert made.counts["samples_dropped_as_converted_without_click"] == 1
    assert made.counts["samples"] == 14
    assert validate(tmp_path / "out").problems == []
    values = {table: vocabulary.values for table, vocabulary in made.vocabularies.items()}
    assert set(values["101"]) == {"1010", "1011", "1012"}
    assert set(values["205"]) == {f"205{n}" for n in range(5)}
    assert values["702"] == ()
    support, _ = next(iter(Reader(tmp_path / "out", "train", global_batch_tasks=3).dataset()))
    names = [feature.name for feature in made.schema.positions]
    history = [place for place, name in enumerate(names) if name == "109_14"]
    user_1 = np.flatnonzero(
        support["ids"][:, 0, names.index("101")] == 1 + values["101"].index("1011")
    )[0]
    ids = support["ids"].numpy()[user_1, 0, history]
    assert [values["109_14"][i - 1] for i in ids[ids >= 0]] == [
        "c2",
        "c1",
        "c0",
    ]  # by falling value
    weights = support["numeric"].numpy()[user_1, 0]  # of 109_14, then of 110_14
    np.testing.assert_array_equal(weights[: len(history)][:4], [2.5, 1.5, 0.5, 0])
    np.testing.assert_array_equal(weights[len(history) :][:3], [2.5, 0.5, 0])
    label = prepare(
        ali_ccp(raw, label="conversion", task="205"),
        tmp_path / "items",
        split=Split(query=1, fractions=(1, 0, 0)),
        lanes=1,
    )
    assert label.counts["tasks"] == 5


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_may_have_a_line_of_names_and_be_compressed(raw, tmp_path, suffix):
    split = Split(query=2, support=3, fractions=(1, 0, 0))
    plain = prepare(ali_ccp(raw), tmp_path / "plain", split=split, lanes=1)
    for name, columns in (("common_features", COMMON), ("sample_skeleton", SKELETON)):
        file = raw / f"{name}_train.csv"
        text = ",".join(columns) + "\n" + file.read_text()
        file.unlink()
        data = gzip.compress(text.encode()) if suffix else text.encode()
        file.with_name(file.name + suffix).write_bytes(data)
    made = prepare(ali_ccp(raw), tmp_path / "out", split=split, lanes=1)
    assert made.digest == plain.digest


def test_missing_files(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"source must be a file that exists. Received: .*sample_skeleton_train.csv",
    ):
        ali_ccp(tmp_path)
