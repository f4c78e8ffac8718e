"""YAML as people mean it."""

import pytest

from gmeta_tf import plain_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on: no", {"on": "no"}),
        ("7: 007", {"7": "007"}),
        ("a: [1, 2.50, null, ~, 2024-01-05]", {"a": ["1", "2.50", "null", "~", "2024-01-05"]}),
        ("a:\nb: c", {"b": "c"}),
        ("a: {b: , c: d}", {"a": {"c": "d"}}),
        ("a: ''", {"a": ""}),
        ("a: ~", {"a": "null"}),
        ("a: &x {b: c}\nd: {<<: *x, e: f}", {"a": {"b": "c"}, "d": {"b": "c", "e": "f"}}),
        ("a: {b: d, <<: [{b: c}, {b: x, e: f}]}", {"a": {"b": "d", "e": "f"}}),
        ("", None),
        ("a: {b: 'on'}", {"a": {"b": "on"}}),
        ("\ufeffa: b", {"a": "b"}),
    ],
)
def test_every_scalar_is_text(text, expected):
    assert plain_yaml.load(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "every key must stand once. Received: 'a' twice in line 2"),
        ("b: {a: 1, a: 2}\n", "every key must stand once. Received: 'a' twice in line 1"),
        ("a:\n\tb: c\n", "text must be YAML. Received: .* in line 2. Indent by blanks, not tabs"),
        ("a: [1\n", "text must be YAML. Received: .*. Mend the line"),
        ("<<: [a]\n", "<< must bring mappings. Received: .* in line 1"),
        ("[a]: 1\n", "keys must be names. Received: .* in line 1"),
        ("a: !!python/object:os.system b\n", "text must be YAML"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as told:
        plain_yaml.load(text)
    assert "\n" not in str(told.value)


def test_the_nearest_name():
    assert plain_yaml.nearest("lable", ["label", "task"]) == " Did you mean 'label'?"
    assert plain_yaml.nearest("USER", ["users", "user"]) == " Did you mean 'user'?"
    assert plain_yaml.nearest("zzz", ["label", "task"]) == ""
