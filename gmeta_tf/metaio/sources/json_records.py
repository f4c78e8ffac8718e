"""JSON as a table: what the values of each key are, by some records, and by all where a key is
rare.
"""

from gmeta_tf.metaio import text
from gmeta_tf.metaio.engine import DuckDB, named, quoted, struct

SAMPLED = 20_480  # records whose types are looked at


def json_sql(engine: DuckDB, files: list[str], compression: str, shape: str, common: str) -> str:
    """SQL that reads files of JSON: scalars as text, lists as lists of text, objects as JSON.

    Args:
      engine: where it will run.
      files: of one compression and shape.
      compression: "", or "gzip".
      shape: as DuckDB's `format` has it.
      common: further options of the engine's reader.

    Raises:
      ValueError: the files hold no key, or two that differ in the case of their letters alone.
    """
    listed = f"[{', '.join(map(quoted, files))}]"
    form = f"format = '{shape}', compression = {quoted(compression or 'none')}"
    keys = f"SELECT unnest(json_keys(json)) AS key FROM read_json_objects({listed}, {form})"
    found = [
        key
        for (key,) in engine.rows(
            f"SELECT key FROM (SELECT key, count(*) AS n FROM ({keys}) GROUP BY key) "
            "ORDER BY n DESC, key"
        )
    ]
    own = ", ".join(engine.copies.get(file, file) for file in files)[:200]
    if not found:
        raise ValueError(
            f"source must hold rows. Received: {own}, whose objects are empty. Fetch "
            "it again, or leave it out."
        )
    lowered = [key.lower() for key in found]
    doubled = [key for key in found if lowered.count(key.lower()) > 1]
    if doubled:
        raise ValueError(
            f"keys must differ in more than the case of their letters. Received: {doubled} in "
            f"{own}. Rename them there."
        )
    kinds = _kinds(engine, found, listed, form)
    columns = dict.fromkeys(found, "VARCHAR")
    columns |= {key: "VARCHAR[]" for key in found if kinds[key] == {"ARRAY"}}
    plain = [key for key in found if "OBJECT" not in kinds[key]]
    texts = {key: _number_text(named(key)) for key in plain if "DOUBLE" in kinds[key]}
    several = [key for key in plain if "ARRAY" in kinds[key] and len(kinds[key]) > 1]
    texts |= {key: _list_of_any(named(key)) for key in several}
    columns |= dict.fromkeys([*texts, *(key for key in found if key not in plain)], "JSON")
    read = f"read_json({listed}, {form}, columns = {struct(columns)}, {common})"
    replaced = ", ".join(f"{made} AS {named(key)}" for key, made in texts.items())
    return f"SELECT *{f' REPLACE ({replaced})' if replaced else ''} FROM {read}"


def _kinds(engine, keys, listed, form) -> dict[str, set[str]]:
    """key -> JSON types of its values in some records."""
    if not keys:
        return {}
    columns = struct(dict.fromkeys(keys, "JSON"))
    some = f"(FROM read_json({listed}, {form}, columns = {columns}) LIMIT {SAMPLED})"
    found = engine.row(
        "SELECT "
        + ", ".join(f"list(DISTINCT json_type({named(key)}))" for key in keys)
        + f" FROM {some}"
    )
    kinds = {
        key: {kind for kind in own or [] if kind and kind != "NULL"}
        for key, own in zip(keys, found, strict=True)
    }
    late = [key for key, own in kinds.items() if not own]
    if late and len(late) < len(keys):
        columns = struct(dict.fromkeys(late, "JSON"))
        all_ = f"read_json({listed}, {form}, columns = {columns})"
        several = " UNION ALL ".join(
            f"SELECT {number} AS n, json_type({named(key)}) AS kind FROM {all_} "
            f"WHERE {named(key)} IS NOT NULL"
            for number, key in enumerate(late[:50])
        )
        for number, kind in engine.rows(f"SELECT DISTINCT n, kind FROM ({several})"):
            if kind != "NULL":
                kinds[late[number]].add(kind)
    return kinds


def _number_text(value):
    """SQL of the text of a JSON value, some of which are numbers with a fraction."""
    whole = f"regexp_full_match({value}::VARCHAR, '-?[0-9]+')"
    number = f"json_type({value}) = 'DOUBLE' AND NOT {whole}"
    return (
        f"CASE WHEN {number} THEN {text.sql(f'{value}::DOUBLE', 'DOUBLE')} ELSE {value}->>'$' END"
    )


def _list_of_any(value):
    """SQL of a JSON value as a list of texts; a value that is none is a list of itself."""
    return (
        f"CASE WHEN {value} IS NULL OR json_type({value}) = 'NULL' THEN NULL "
        f"WHEN json_type({value}) = 'ARRAY' THEN {value}->>'$[*]' ELSE [{value}->>'$'] END"
    )


def is_object(head):
    """Whether the first line is a whole JSON object: then lines can be read side by side."""
    first = head.lstrip().split("\n", 1)[0].strip()
    return first.endswith("}") or "\n" not in head.strip()
