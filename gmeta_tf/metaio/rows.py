"""Raw rows as preparation sees them: under names of its own, of one type a kind of feature, and
checked.

A source's names never enter SQL, so they may be anything: its columns are taken by position and
called `task`, `label`, `order_0` …, `feature_0` ….
"""

from collections.abc import Mapping

from gmeta_tf.metaio import checks, text
from gmeta_tf.metaio.engine import DuckDB, quoted
from gmeta_tf.metaio.notes import warn
from gmeta_tf.metaio.orders import LADDER, guess, order_of
from gmeta_tf.metaio.policies import Split
from gmeta_tf.metaio.rules import refuse, rules_of
from gmeta_tf.metaio.sources.reading import make_views
from gmeta_tf.metaio.sources.sides import PARTNER, join_sides, tell_partners
from gmeta_tf.metaio.vocabulary import Policy
from gmeta_tf.schema import Categorical, MultiHot, Numeric, Schema

SEPARATOR = "\x1f"  # between the columns of a task key


class Rows:
    """The rows of a source, in views and tables of the engine.

        raw, samples    views: the rows as they are, and of one type a kind of feature,
                        with `cold`: of a cold item
        cold_items      values that training never sees
        sizes           a line a task: how many samples it has, and when the first was

    Args:
      engine: where they lie.
      source: the raw interactions.
      split: the policies.
      policies: of vocabularies, by table; others are `Policy()`.
      labels: text of a label -> the number that it means; none: labels are numbers.

    Attributes:
      schema: of the source.
      keys: columns that name the task.
      orders: columns of the order, as they are called here.
      columns: features that are a column of the source: all but counts.
      own: feature -> what its column is called here.
      weights: weighted feature -> the same of its weights.
      tables: of the schema's id features.
      features_of: table -> its features.
      counts: of files, and of rows that were left out.
      kinds: column of the source -> its type.
      types: column as it is called here -> its type.
      table_types: table -> the type in which its values are compared.
    """

    def __init__(
        self,
        engine: DuckDB,
        source,
        split: Split,
        policies: dict[str, Policy],
        labels: Mapping[str, float] | None = None,
    ):
        self.engine, self.source, self.split, self.labels = engine, source, split, labels
        self.counts: dict[str, int] = {}
        self.schema: Schema = source.schema
        self.keys = (
            [self.schema.task] if isinstance(self.schema.task, str) else list(self.schema.task)
        )
        self.features_of: dict[str, list] = {}
        for feature in self.schema.id_features:
            self.features_of.setdefault(feature.table, []).append(feature)
        self.tables = list(self.features_of)
        self.policies = {table: policies.get(table, Policy()) for table in self.tables}
        unknown = sorted(set(policies) - set(self.tables))
        if unknown:
            raise ValueError(
                f"vocabularies must be of the schema's tables, {self.tables}. Received: {unknown}. "
                "Name its tables."
            )
        for name, feature in self.schema.counts_of.items():
            if self.policies[feature.table].kind != "frequency":
                raise ValueError(
                    "counts must be of a feature whose vocabulary is by frequency. Received: "
                    f"{name} of {feature.name}, by "
                    f"{self.policies[feature.table].kind}. Leave the count out, or make that "
                    "vocabulary by frequency."
                )
        self.columns = [
            feature for feature in self.schema.features if feature.name not in self.schema.counts_of
        ]
        self.orders = [f"order_{i}" for i in range(len(source.order_by))]
        self.own = {feature.name: f"feature_{i}" for i, feature in enumerate(self.columns)}
        self.weights = {
            feature.name: f"weights_{i}" for i, feature in enumerate(self.schema.weighted_features)
        }

    @property
    def values(self) -> list[str]:
        """The columns of features and weights, as they are called here."""
        return [*self.own.values(), *self.weights.values()]

    def load(self):
        """Makes the views and tables, and checks every row.

        Raises:
          ValueError: a column is missing or of a type that its feature cannot take, or a row has a
            value that it must not.
        """
        names = self._names()
        needed = {*names.values(), *self.keys}
        self.counts |= make_views(self.engine, self.source.tables)
        join_sides(self.engine, self.source.sides, needed)
        columns = self.engine.columns(self.source.sql)
        checks.require_columns(needed, [name for name, _ in columns], self.schema.label)
        self._place = {name: i + 1 for i, (name, _) in reversed(list(enumerate(columns)))}
        self.kinds = dict(reversed(columns))
        chosen = {own: f"#{self._place[name]}" for own, name in names.items()}
        kinds = self._kinds_of_orders()
        while True:
            self._make_raw(chosen, kinds)
            self._make_views()
            self._count(kinds)
            failed = self._failed_orders(kinds)
            if not failed:
                break
            for own in failed:
                kinds[own] = LADDER[kinds[own]]
            for view in ("samples", "raw"):
                self.engine.drop(view)
            for table in ("sizes", "cold_items"):
                self.engine.run(f"DROP TABLE IF EXISTS {table}")
        rows = self.engine.row("SELECT coalesce(sum(samples), 0)::BIGINT FROM sizes")[0]
        without = [
            int(self.engine.row(f"SELECT coalesce(sum(partners_{n}), 0) FROM sizes")[0])
            for n in range(len(self.source.sides))
        ]
        tell_partners(self.source.sides, rows, without)

    def _kinds_of_orders(self) -> dict[str, str]:
        """order_0 … -> its kind, of those that are text and whose order matters."""
        split = self.split
        latest = split.cold_items and split.cold_items.latest
        if split.by == "random" and split.tasks_by != "time" and not latest:
            return {}
        return {
            own: guess(
                self.engine,
                f"SELECT #{self._place[name]} AS value FROM ({self.source.sql})",
                "value",
                name,
                first=own == self.orders[0],
            )
            for own, name in zip(self.orders, self.source.order_by, strict=True)
            if self.kinds[name] == "VARCHAR"
        }

    def _make_raw(self, chosen: dict[str, str], kinds: dict[str, str]):
        """Makes `raw`; of doubles only one, where that is asked for."""
        columns = {"task": self._task()} | chosen
        for own, kind in kinds.items():
            columns[own] = order_of(kind, chosen[own]).value
            columns[f"{own}_fails"] = order_of(kind, chosen[own]).fails or "false"
        for number in range(len(self.source.sides)):
            partner = self._place.get(PARTNER.format(number))
            columns[f"partner_{number}"] = f"#{partner} IS NOT NULL" if partner else "true"
        listed = ", ".join(f"{value} AS {own}" for own, value in columns.items())
        sql = f"SELECT {listed} FROM ({self.source.sql})"
        if self.split.duplicates not in ("first", "last"):
            self.engine.run(f"CREATE VIEW raw AS {sql}")
        else:
            order = "ASC" if self.split.duplicates == "first" else "DESC"
            self.engine.run(
                f"""CREATE TABLE raw AS
                SELECT * EXCLUDE (row) FROM (SELECT *, row_number() OVER () AS row FROM ({sql}))
                QUALIFY row_number() OVER (
                    PARTITION BY task, {", ".join(self.orders)} ORDER BY row {order}) = 1"""
            )
            (before,) = self.engine.row(f"SELECT count(*) FROM ({self.source.sql})")
            (after,) = self.engine.row("SELECT count(*) FROM raw")
            self.counts["samples_dropped_as_duplicates"] = before - after
        self.types = dict(self.engine.columns("FROM raw"))

    def _task(self):
        """SQL of the task: of one column as it is, of several their texts."""
        keys = [f"#{self._place[key]}" for key in self.keys]
        kinds = [self.kinds[key] for key in self.keys]
        for name, kind in zip(self.keys, kinds, strict=True):
            checks.require_scalar(name, kind)
        texts = [text.sql(key, kind) for key, kind in zip(keys, kinds, strict=True)]
        if len(keys) > 1:
            absent = " OR ".join(f"{one} IS NULL" for one in texts)
            joined = f"concat_ws({quoted(SEPARATOR)}, {', '.join(texts)})"
            return f"CASE WHEN {absent} THEN NULL ELSE {joined} END"
        return keys[0] if kinds[0] in text.INTEGERS | text.LARGE else texts[0]

    def _names(self):
        """The columns that preparation reads -> the source's."""
        cold = self.split.cold_items
        names = {
            "label": self.schema.label,
            **dict(zip(self.orders, self.source.order_by, strict=True)),
        }
        names |= {self.own[feature.name]: feature.name for feature in self.columns}
        names |= {
            self.weights[feature.name]: feature.weights for feature in self.schema.weighted_features
        }
        names |= {"part": self.split.column} if self.split.column else {}
        names |= {"item": cold.column} if cold else {}
        return names | ({"age": cold.age_column} if cold and cold.age_column else {})

    def _make_views(self):
        for feature in self.columns:
            checks.require_kind(feature, self.types[self.own[feature.name]])
        self.table_types = {table: self._type_of(table) for table in self.tables}
        typed = [f"{self._typed(feature)} AS {self.own[feature.name]}" for feature in self.columns]
        typed += [self._weight(feature) for feature in self.schema.weighted_features]
        extra = ["part"] if self.split.column else []
        self._find_cold_items()
        self.engine.run(
            f"CREATE VIEW samples AS SELECT task, {self._label()} AS label, "
            f"{', '.join([*self.orders, *extra, *typed])}, "
            f"{self._is_cold()} AS cold FROM raw"
        )

    def _label(self):
        """SQL of the label, as a number."""
        if not self.labels:
            return "TRY_CAST(label AS FLOAT)"
        cases = " ".join(
            f"WHEN {quoted(text.text(name))} THEN {float(value)!r}::FLOAT"
            for name, value in self.labels.items()
        )
        return f"CASE {text.sql('label', self.types['label'])} {cases} END"

    def _type_of(self, table):
        """The type in which a table's values are compared: text, unless all features that use it
        are integers or buckets.
        """
        if self.policies[table].kind == "buckets":
            return "DOUBLE"
        features = self.features_of[table]
        kinds = {self.types[self.own[feature.name]] for feature in features}
        if kinds <= text.INTEGERS and all(isinstance(f, Categorical) for f in features):
            return kinds.pop() if len(kinds) == 1 else "BIGINT"
        return "BIGINT" if self.policies[table].kind == "identity" else "VARCHAR"

    def _typed(self, feature):
        own = self.own[feature.name]
        if isinstance(feature, Numeric):
            return f"nullif(TRY_CAST({own} AS DOUBLE), 'nan'::DOUBLE)"
        to, kind = self.table_types[feature.table], self.types[own]
        if isinstance(feature, Categorical):
            if kind == to and kind != "VARCHAR":
                return own
            if to == "DOUBLE":
                return f"nullif(TRY_CAST({own} AS DOUBLE), 'nan'::DOUBLE)"
            made = text.sql(own, kind)
            return made if to == "VARCHAR" else f"TRY_CAST({made} AS {to})"
        there = f"list_filter({self.texts(feature)}, lambda value: value <> '')"  # drops NULL, too
        return (
            there
            if to == "VARCHAR"
            else f"list_transform({there}, lambda value: TRY_CAST(value AS {to}))"
        )

    def texts(self, feature):
        """SQL of a multi-hot column as a list of texts."""
        own = self.own[feature.name]
        return _as_texts(own, self.types[own], feature.separator)

    def _weight(self, feature):
        """SQL of the weights of a feature's ids, without those of empty texts, as these are
        no ids.
        """
        weights = self.weights[feature.name]
        pairs = f"list_zip({self.texts(feature)}, {self.weight_texts(feature)})"
        kept = f"list_filter({pairs}, lambda pair: pair[1] <> '')"
        return f"list_transform({kept}, lambda pair: TRY_CAST(pair[2] AS DOUBLE)) AS {weights}"

    def weight_texts(self, feature):
        """SQL of the weights of a feature's ids as a list of texts."""
        weights = self.weights[feature.name]
        return _as_texts(weights, self.types[weights], feature.separator)

    def _find_cold_items(self):
        cold = self.split.cold_items
        if not cold:
            return
        checks.require_scalar(cold.column, self.types["item"])
        age = "min(TRY_CAST(age AS DOUBLE))" if cold.age_column else "NULL"
        items = f"""
            SELECT {self._item()} AS item, min(order_0) AS first, {age} AS age
            FROM raw GROUP BY 1 HAVING item IS NOT NULL"""
        if cold.listed:
            listed = ", ".join(quoted(text.text(item)) for item in cold.listed)
            chosen = f"SELECT item FROM ({items}) WHERE item IN ({listed})"
        elif cold.since is not None:
            chosen = f"SELECT item FROM ({items}) WHERE age >= {cold.since}"
        else:
            order = "first DESC, " if cold.latest else ""
            number = f"row_number() OVER (ORDER BY {order}md5('{self.split.seed}:' || item), item)"
            numbered = f"SELECT item, {number} AS n, count(*) OVER () AS all_items FROM ({items})"
            chosen = f"SELECT item FROM ({numbered}) WHERE n <= round({cold.fraction} * all_items)"
        self.engine.run(f"CREATE TABLE cold_items AS {chosen}")
        found = [item for (item,) in self.engine.rows("FROM cold_items LIMIT 1")]
        if cold.listed:
            known = {item for (item,) in self.engine.rows("FROM cold_items")}
            checks.require_known("cold_items.listed", cold.listed, known, what="item")
        elif not found and cold.since is not None:
            checks.require_ages(self.engine, cold)
        if not found:
            warn("no item is cold, so that partitions of cold items are empty")

    def _item(self):
        return text.sql("item", self.types["item"])

    def _is_cold(self):
        return (
            f"coalesce({self._item()} IN (SELECT item FROM cold_items), false)"
            if self.split.cold_items
            else "false"
        )

    def _count(self, kinds):
        """Makes `sizes`, and refuses the first row that breaks a rule."""
        rules = list(rules_of(self))
        failing = [f"count_if({own}_fails) AS {own}_failed" for own in kinds]
        whole = _all_of([f"coalesce({rule.holds}, false)" for rule in rules])
        parts = (
            [f"count_if(part::VARCHAR = '{part}') AS {part}" for part in ("support", "query")]
            if self.split.column
            else []
        )
        partners = [
            f"count_if(NOT partner_{n}) AS partners_{n}" for n in range(len(self.source.sides))
        ]
        lists = [
            f"count_if({_like_a_list(self.own[f.name])}) AS list_{i}, "
            f"count_if({_is_joined(self.own[f.name], f.separator)}) AS joined_{i}, "
            f"count({self.own[f.name]}) AS there_{i}"
            for i, f in enumerate(self._texts_of_lists)
        ]
        self.engine.run(
            f"CREATE TABLE sizes AS SELECT task, {self._is_cold()} AS cold, count(*) AS samples, "
            f"min(order_0) AS first, count_if(NOT ({whole})) AS bad, "
            f"{', '.join([*failing, *parts, *partners, *lists])} FROM raw GROUP BY task, cold"
        )
        if self._failed_orders(kinds):
            return
        bad, samples = self.engine.row("SELECT sum(bad), sum(samples) FROM sizes")
        if not samples:
            checks.refuse_none(self.engine, self.source)
        if bad:
            refuse(self.engine, rules)
        for i, feature in enumerate(self._texts_of_lists):
            checks.require_parted(
                feature,
                *self.engine.row(
                    f"SELECT sum(list_{i}), sum(joined_{i}), sum(there_{i}) FROM sizes"
                ),
            )

    @property
    def _texts_of_lists(self):
        return [
            feature
            for feature in self.columns
            if isinstance(feature, MultiHot) and self.types[self.own[feature.name]] == "VARCHAR"
        ]

    def _failed_orders(self, kinds) -> list[str]:
        """The orders of which a value is not of the kind that some rows seemed to have."""
        if not kinds:
            return []
        sums = ", ".join(f"sum({own}_failed)" for own in kinds)
        found = self.engine.row(f"SELECT {sums} FROM sizes")
        return [own for own, count in zip(kinds, found, strict=True) if count]


def _as_texts(own, kind, separator):
    """SQL of a column of lists, or of text that holds them, as a list of texts."""
    if kind in ("VARCHAR", '"NULL"', "NULL"):
        return parted(f"{own}::VARCHAR", separator)
    return text.sql_of_list(own, kind)


def parted(value: str, separator: str) -> str:
    """SQL of the values in a text, as `encoding.parted` has them."""
    if separator == " ":
        return f"string_split(translate({value}, '\t\n\r', '   '), ' ')"
    return f"list_transform(string_split({value}, {quoted(separator)}), lambda v: trim(v))"


def _like_a_list(own):
    """SQL: a text is a list as programs write it."""
    forms = r"\[.*\]|\{.*\}|\(.*,.*\)|(array|list|tuple|set|frozenset)\(.*\)"
    return f"regexp_full_match(trim({own}), '{forms}', 's')"


def _is_joined(own, separator):
    """SQL: a text holds a sign that parts values elsewhere, and not the separator."""
    signs = [sign for sign in "|,;" if sign != separator.strip()]
    any_ = " OR ".join(f"contains({own}, '{sign}')" for sign in signs)
    return f"({any_}) AND NOT contains({own}, {quoted(separator)})"


def _all_of(conditions):
    """SQL of a conjunction as a balanced tree, as the depth of expressions is limited."""
    while len(conditions) > 1:
        conditions = [
            f"({' AND '.join(conditions[i : i + 8])})" for i in range(0, len(conditions), 8)
        ]
    return conditions[0]
