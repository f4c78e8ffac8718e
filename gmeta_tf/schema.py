"""What a sample is made of: the task key, the label and the features, written to and read from
YAML.

Id 0 of every table is its out-of-vocabulary row. A sample's ids travel *packed*: one row of
`positions` integers, the categorical features first, then the slots of each multi-hot feature, -1
where a slot is empty.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import yaml

from gmeta_tf import plain_yaml
from gmeta_tf._tensorflow import tf
from gmeta_tf.plain_yaml import nearest

OUT_OF_VOCABULARY = 0
EMPTY = -1
COMBINERS = ("mean", "sum")


@dataclasses.dataclass(frozen=True)
class Categorical:
    """One id a sample.

    Attributes:
      name: column of the data.
      table: embedding table; features with one table share its rows. Default: a table of the
        feature's own.
    """

    kind: ClassVar[str] = "categorical"
    name: str
    table: str = ""

    def __post_init__(self):
        object.__setattr__(self, "table", self.table or self.name)

    @property
    def slots(self):
        """Packed positions that the feature takes: 1."""
        return 1


@dataclasses.dataclass(frozen=True)
class MultiHot:
    """Up to `max_length` ids a sample, whose rows are combined into one vector.

    Attributes:
      name: column of the data (a list, or text separated by blanks).
      max_length: slots; preparation refuses a longer list.
      combiner: "mean" or "sum" over the ids present; the vector of no id is zero.
      table: as for `Categorical`.
      weights: column of as many numbers as ids, by which rows are multiplied; a mean is then over
        the weights. "": all 1.
      separator: between the values of a column of text; a blank stands for tabs and ends of lines,
        too.
    """

    kind: ClassVar[str] = "multi_hot"
    name: str
    max_length: int
    combiner: str = "mean"
    table: str = ""
    weights: str = ""
    separator: str = " "

    def __post_init__(self):
        object.__setattr__(self, "table", self.table or self.name)
        if not self.separator:
            raise ValueError(
                f"separator must be a text. Received: none for {self.name!r}. Give what parts its "
                'values, such as "|".'
            )
        if not isinstance(self.max_length, int) or isinstance(self.max_length, bool):
            raise ValueError(
                f"max_length must be a whole number. Received: max_length={self.max_length!r} for "
                f"{self.name!r}. Give the longest list's length."
            )
        if self.combiner not in COMBINERS:
            raise ValueError(
                f"combiner must be one of {COMBINERS}. Received: combiner={self.combiner!r} for "
                f"{self.name!r}. Use one of them."
            )
        if self.max_length < 1:
            raise ValueError(
                f"max_length must be at least 1. Received: max_length={self.max_length} for "
                f"{self.name!r}. Give the longest list's length."
            )

    @property
    def slots(self):
        """Packed positions that the feature takes: `max_length`."""
        return self.max_length


@dataclasses.dataclass(frozen=True)
class Numeric:
    """One number a sample, standardised by preparation with the training tasks' mean and deviation.

    Attributes:
      name: column of the data.
      counts: categorical feature of a vocabulary by frequency; the number is then no column, but
        the logarithm of how often the feature's value occurs in training, out of vocabulary 0: what
        is popular is liked more, and what is rare is known less.
    """

    kind: ClassVar[str] = "numeric"
    name: str
    counts: str = ""


Feature = Categorical | MultiHot | Numeric
KINDS = {cls.kind: cls for cls in (Categorical, MultiHot, Numeric)}


@dataclasses.dataclass(frozen=True)
class Schema:
    """The features, the task key and the label of a data set.

    Attributes:
      task: column whose values are the tasks (a user, an ad, a shop), or several whose combinations
        are.
      label: column to predict, a finite number.
      features: in the order in which towers see them within their kind.
      tables: rows of each embedding table, out-of-vocabulary row included; filled in by
        preparation.

    Raises:
      ValueError: two features of one name, a feature that is the label, counts of no categorical
        feature, or a table without a size once any has one.
    """

    task: str | tuple[str, ...]
    label: str
    features: tuple[Feature, ...]
    tables: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(
            self, "task", self.task if isinstance(self.task, str) else tuple(self.task)
        )
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names) or not names:
            raise ValueError(
                f"features must have distinct names, at least one. Received: features={names}. "
                "Name each column once."
            )
        if self.label in names:
            raise ValueError(
                f"label must be no feature. Received: label={self.label!r}, features={names}. Drop "
                "the feature."
            )
        categorical = [
            feature.name for feature in self.features if isinstance(feature, Categorical)
        ]
        for feature in self.numeric_features:
            if feature.counts not in ("", *categorical):
                raise ValueError(
                    f"counts must be of a categorical feature, one of {categorical}. Received: "
                    f"counts={feature.counts!r} for "
                    f"{feature.name!r}. Name one."
                )
        used = {feature.table for feature in self.id_features}
        if self.tables and used != set(self.tables):
            raise ValueError(
                f"tables must be those that features use, {sorted(used)}. Received: "
                f"tables={dict(self.tables)}. "
                "Leave tables out: preparation fills them in."
            )

    @functools.cached_property
    def id_features(self) -> tuple[Categorical | MultiHot, ...]:
        """Features that look rows up, in packed order: categorical, then multi-hot."""
        categorical = [f for f in self.features if isinstance(f, Categorical)]
        return (*categorical, *(f for f in self.features if isinstance(f, MultiHot)))

    @functools.cached_property
    def numeric_features(self) -> tuple[Numeric, ...]:
        """Features that are numbers."""
        return tuple(f for f in self.features if isinstance(f, Numeric))

    @functools.cached_property
    def counts_of(self) -> dict[str, Categorical]:
        """Numeric feature that is no column -> the categorical feature whose values it counts."""
        categorical = {
            feature.name: feature for feature in self.features if isinstance(feature, Categorical)
        }
        return {
            feature.name: categorical[feature.counts]
            for feature in self.numeric_features
            if feature.counts
        }

    @functools.cached_property
    def weighted_features(self) -> tuple[MultiHot, ...]:
        """Multi-hot features with weights, whose slots stand behind the numeric features in
        `numeric`.
        """
        return tuple(f for f in self.features if isinstance(f, MultiHot) and f.weights)

    @functools.cached_property
    def numeric_width(self) -> int:
        """Numbers that travel with a sample: numeric features, then a weight for each slot of the
        weighted ones.
        """
        return len(self.numeric_features) + sum(feature.slots for feature in self.weighted_features)

    @functools.cached_property
    def positions(self) -> tuple[Categorical | MultiHot, ...]:
        """The feature at each packed position."""
        return tuple(feature for feature in self.id_features for _ in range(feature.slots))

    def require_features(self, columns: Mapping[str, Any]):
        """Raises ValueError unless `columns` holds every feature."""
        names = [
            *(feature.name for feature in self.features),
            *(feature.weights for feature in self.weighted_features),
        ]
        missing = [name for name in names if name not in columns]
        if missing:
            raise ValueError(
                "columns must hold every feature of the schema. Received: "
                f"columns={sorted(columns)}; missing {missing}. Add them."
            )

    def pack(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Packs encoded columns of n samples into the arrays that models take.

        Args:
          columns: name -> n ids (categorical), n lists of ids (multi-hot), n lists of numbers
            (their weights) or n numbers (numeric and the label).

        Returns:
          `ids` [n, positions] int64, `numeric` [n, numeric width] float32, `label` [n] float32
          (zeros where the label is not given).

        Raises:
          ValueError: a feature is missing, columns differ in length, or values are raw.
        """
        self.require_features(columns)
        needed = [feature.name for feature in self.features]
        n = len(columns[needed[0]])
        label = columns.get(self.label, np.zeros(n))
        lengths = {name: len(columns[name]) for name in needed} | {self.label: len(label)}
        if len(set(lengths.values())) != 1:
            raise ValueError(
                f"columns must be of one length. Received: lengths={lengths}. Give each one value "
                "a sample."
            )
        parts = [_slots(columns[feature.name], feature) for feature in self.id_features]
        numbers = [
            np.asarray(columns[feature.name], np.float32).reshape(n, 1)
            for feature in self.numeric_features
        ]
        numbers += [
            _weights(columns[feature.weights], columns[feature.name], feature)
            for feature in self.weighted_features
        ]
        return {
            "ids": np.concatenate([np.zeros((n, 0), np.int64), *parts], axis=1),
            "numeric": np.concatenate([np.zeros((n, 0), np.float32), *numbers], axis=1),
            "label": np.asarray(label, np.float32),
        }

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary, for YAML and JSON."""
        features = [{"kind": f.kind, **_entries(f)} for f in self.features]
        task = self.task if isinstance(self.task, str) else list(self.task)
        return {
            "task": task,
            "label": self.label,
            "features": features,
            "tables": dict(self.tables),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_dict`.

        Raises:
          ValueError: an unknown or missing entry, or an unknown kind.
        """
        if not isinstance(plain, Mapping):
            raise _no_schema(f"{type(plain).__name__} {str(plain)[:80]!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in plain:
            if name not in known:
                raise _no_schema(f"an unknown entry {name!r}.{nearest(name, known)}")
        missing = [name for name in ("task", "label", "features") if not plain.get(name)]
        if missing:
            raise _no_schema(f"none for {', '.join(missing)}")
        task, label = plain["task"], plain["label"]
        keys = [task] if isinstance(task, str) else task
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise _no_schema(f"task={task!r}, which is no column, or list of columns")
        if not isinstance(label, str):
            raise _no_schema(f"label={label!r}, which is no column")
        if not isinstance(plain["features"], list | tuple):
            raise _no_schema(f"features={plain['features']!r}, which is no list")
        features = [_feature(entry) for entry in plain["features"]]
        return cls(**{**plain, "features": features})

    def save(self, path):
        """Writes the schema as YAML to `path`."""
        with tf.io.gfile.GFile(str(path), "w") as file:
            file.write(yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def load(cls, path) -> "Schema":
        """Reads a schema from a YAML file, in which every name is text.

        Raises:
          FileNotFoundError, ValueError: there is no such file, or it holds no schema.
        """
        if not tf.io.gfile.exists(str(path)) or tf.io.gfile.isdir(str(path)):
            raise FileNotFoundError(
                f"schema must be a file that exists. Received: {path}. Name another."
            )
        try:
            with tf.io.gfile.GFile(str(path), "rb") as file:
                plain = plain_yaml.load(file.read().decode("utf-8-sig"))
            return cls.from_dict(_with_numbers(plain))
        except UnicodeDecodeError:
            raise ValueError(f"schema must be UTF-8. Received: {path}. Convert it.") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _no_schema(received):
    return ValueError(
        "schema must have task, label, features and at most tables. Received: "
        f"{received.removesuffix('.')}{'' if received.endswith('?') else '.'} Mend these entries."
    )


def _with_numbers(plain):
    """What YAML gave as text, with numbers where a schema has them."""
    if not isinstance(plain, Mapping):
        return plain
    made = dict(plain)
    if isinstance(plain.get("features"), list):
        made["features"] = [
            {**entry, "max_length": _number(entry["max_length"])}
            if isinstance(entry, Mapping) and "max_length" in entry
            else entry
            for entry in plain["features"]
        ]
    if isinstance(plain.get("tables"), Mapping):
        made["tables"] = {name: _number(rows) for name, rows in plain["tables"].items()}
    return made


def _number(text):
    """A whole number, or what stands there instead."""
    try:
        return int(text.replace("_", ""))
    except (AttributeError, ValueError):
        return text


def _entries(feature: Feature) -> dict[str, Any]:
    """What a feature says, without a separator that is the usual one."""
    entries = dataclasses.asdict(feature)
    if entries.get("separator") == " ":
        del entries["separator"]
    return entries


def _feature(entry: Mapping[str, Any]) -> Feature:
    if not isinstance(entry, Mapping):
        raise _no_schema(f"feature {entry!r}, which has no kind and name")
    fields = dict(entry)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(
            f"kind must be one of {sorted(KINDS)}. Received: kind={kind!r} for feature "
            f"{entry.get('name')!r}. Use one of them."
        )
    own = dataclasses.fields(KINDS[kind])
    known = [field.name for field in own]
    for name in fields:
        if name not in known:
            near = nearest(name, known)
            raise _no_schema(f"an unknown entry {name!r} of feature {entry}.{near}")
    for field in own:
        if field.default is dataclasses.MISSING and field.name not in fields:
            raise _no_schema(f"feature {entry}, without {field.name}")
        if (
            field.name in fields
            and field.name != "max_length"
            and not isinstance(fields[field.name], str)
        ):
            raise _no_schema(f"feature {entry}, whose {field.name} is no text")
    return KINDS[kind](**fields)


def _weights(weights: Sequence, ids: Sequence, feature: MultiHot) -> np.ndarray:
    """[n, slots] float32 weights of one feature, 0 for empty slots."""
    packed = np.zeros((len(ids), feature.slots), np.float32)
    for row, own, of in zip(packed, weights, ids, strict=True):
        if len(own) != len(of):
            raise ValueError(
                f"{feature.weights} must hold a weight for each id of {feature.name}. Received: "
                f"{list(own)} for {list(of)}. "
                "Give both lists one length."
            )
        row[: len(own)] = own
    return packed


def _slots(values: Sequence, feature: Categorical | MultiHot) -> np.ndarray:
    """[n, slots] int64 ids of one feature, empty slots as -1."""
    if isinstance(feature, Categorical):
        return _ids(values, feature).reshape(len(values), 1)
    packed = np.full((len(values), feature.slots), EMPTY, np.int64)
    for row, ids in zip(packed, values, strict=True):
        if len(ids) > feature.slots:
            raise ValueError(
                f"{feature.name} must hold at most max_length={feature.slots} ids. Received: "
                f"{list(ids)}. Keep the first of them."
            )
        row[: len(ids)] = _ids(ids, feature)
    return packed


def _ids(values: Sequence, feature: Categorical | MultiHot) -> np.ndarray:
    """[n] int64; text is no id, even where it is digits."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        made = np.asarray(values)
        if not any(isinstance(value, str | bytes) for value in made.flat[:1]):
            return made.astype(np.int64)
    raise ValueError(
        f"{feature.name} must be ids. Received: {list(values)[:3]}. Encode raw values first "
        "(Manifest.encode)."
    )
