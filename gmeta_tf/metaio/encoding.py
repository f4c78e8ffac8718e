"""Raw columns as preparation encodes them: at serving, and for `MetaModel.adapt`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gmeta_tf.metaio.text import text
from gmeta_tf.metaio.vocabulary import Vocabulary
from gmeta_tf.schema import Categorical, Feature, Numeric, Schema

BLANKS = str.maketrans("\t\n\r", "   ")


def encoded(
    columns: Mapping[str, Any],
    schema: Schema,
    vocabularies: Mapping[str, Vocabulary],
    numeric: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """The encoded columns, see `Manifest.encode`.

    Args:
      columns: name -> raw values.
      schema: of the prepared data.
      vocabularies: by table.
      numeric: feature -> (mean, deviation).
    """
    counted = {
        name: columns[feature.name]
        for name, feature in schema.counts_of.items()
        if feature.name in columns
    }
    columns = {**columns, **counted}
    schema.require_features(columns)
    made = {
        feature.name: _one(feature, columns[feature.name], schema, vocabularies, numeric)
        for feature in schema.features
    }
    for feature in schema.weighted_features:
        pairs = zip(columns[feature.weights], columns[feature.name], strict=True)
        made[feature.weights] = [_weights(own, values, feature) for own, values in pairs]
    label = schema.label
    return made | ({label: columns[label]} if label in columns else {})


def _one(feature: Feature, values: Sequence, schema, vocabularies, numeric):
    if isinstance(feature, Numeric):
        counted = schema.counts_of.get(feature.name)
        numbers = vocabularies[counted.table].log_counts(values) if counted else values
        return _standardised(numbers, feature.name, *numeric[feature.name])
    vocabulary = vocabularies[feature.table]
    if isinstance(feature, Categorical):
        return vocabulary.ids(values, name=feature.name)
    return [
        vocabulary.ids(_texts(value, feature, vocabulary), name=feature.name).tolist()
        for value in values
    ]


def _texts(value, feature, vocabulary) -> list[str]:
    """The texts of one multi-hot sample, without empty ones. Text of several is parted, unless it
    is a value itself, as one with a blank that came in a list.
    """
    if isinstance(value, str | bytes):
        whole = text(value)
        value = [whole] if vocabulary.holds(whole) else parted(whole, feature.separator)
    elif not isinstance(value, Iterable):
        value = [value]
    return [one for one in map(text, value) if one]


def parted(whole: str, separator: str) -> list[str]:
    """The values in a text, parted by the separator; by a blank, also by tabs and ends of lines."""
    if separator == " ":
        return whole.translate(BLANKS).split(" ")
    return [one.strip(" ") for one in whole.split(separator)]


def _weights(weights, values, feature) -> list[float]:
    """The weights of one multi-hot sample, without those of empty texts."""
    weights, values = (() if part is None else part for part in (weights, values))
    if isinstance(values, str) or len(weights) != len(values):
        raise ValueError(
            f"{feature.weights} must hold a weight for each value of {feature.name}, both lists. "
            f"Received: {weights!r} for {values!r}. "
            "Mend them."
        )
    return [float(weight) for weight, value in zip(weights, values, strict=True) if text(value)]


def _standardised(values, name, mean, deviation):
    """[n] float32."""
    try:
        numbers = np.array([value if text(value) else np.nan for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be numbers. Received: {error}. Give None where there is none."
        ) from None
    beyond = numbers[np.abs(numbers) > np.finfo(np.float32).max]
    if len(beyond):
        raise ValueError(
            f"{name} must be finite numbers (of float32). Received: {beyond[0]}. Give None where "
            "there is none."
        )
    return np.nan_to_num((numbers - mean) / deviation, nan=0.0).astype(np.float32)
