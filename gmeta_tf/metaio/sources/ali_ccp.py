"""Ali-CCP as published: `sample_skeleton_{train,test}.csv` and `common_features_{train,test}.csv`.

A line of the skeleton is sample_id, click, conversion, common_feature_index, feature_num,
feature_list; one of the common features is common_feature_index, feature_num, feature_list. A
feature list is field \\x02 id \\x03 value, joined by \\x01.

Ma et al., "Entire Space Multi-Task Model", SIGIR 2018; https://tianchi.aliyun.com/dataset/408.
"""

from typing import Literal

from gmeta_tf.metaio.source import Source
from gmeta_tf.metaio.sources.files import Files
from gmeta_tf.metaio.sources.paths import existing
from gmeta_tf.schema import Categorical, MultiHot, Schema

USER = ("101", "121", "122", "124", "125", "126", "127", "128", "129")
# Of categories, shops, brands and intentions, with counts.
HISTORIES = ("109_14", "110_14", "127_14", "150_14")
ITEM = ("205", "206", "207", "210", "216")
CROSS = ("508", "509", "702", "853")
POSITION = ("301",)
SKELETON = (
    "sample_id",
    "click",
    "conversion",
    "common_feature_index",
    "feature_num",
    "feature_list",
)
COMMON = ("common_feature_index", "feature_num", "feature_list")
# where a line of names was added, as a row that is left out
IMPRESSIONS = "(FROM files.impressions WHERE sample_id IS DISTINCT FROM 'sample_id')"
IMPOSSIBLE = "TRY_CAST(conversion AS INT) = 1 AND TRY_CAST(click AS INT) = 0"
ENTRY, ID, VALUE = "chr(1)", "chr(2)", "chr(3)"


def ali_ccp(
    folder,
    *,
    part: Literal["train", "test"] = "train",
    task: str = "101",
    label: Literal["click", "conversion"] = "click",
    max_history: int = 64,
) -> Source:
    """Impressions, a task a user (or any other field).

    Samples with a conversion but no click are left out and counted. The files hold no time;
    impressions are ordered by their number.

    Args:
      folder: holds the files.
      part: which two.
      task: the field whose values are the tasks: "101" the user, "205" the item, "207" the shop …
      label: "click", or "conversion" after it.
      max_history: ids kept of a multi-valued field, those of the largest values, which are their
        weights.

    Raises:
      FileNotFoundError: a file is missing.
    """

    tables = {
        name: Files(
            (existing(folder, f"{file}_{part}.csv"),),
            delimiter=",",
            quote="",
            columns=columns,
        )
        for name, file, columns in (
            ("impressions", "sample_skeleton", SKELETON),
            ("common", "common_features", COMMON),
        )
    }
    features = [Categorical(field) for field in (*USER, *ITEM, *CROSS, *POSITION)]
    histories = [
        MultiHot(field, max_length=max_history, weights=f"{field}_values") for field in HISTORIES
    ]
    counted = f"SELECT count(*) FROM {IMPRESSIONS} WHERE {IMPOSSIBLE}"
    dropped = {"samples_dropped_as_converted_without_click": counted}
    return Source(
        schema=Schema(task, label, (*features, *histories)),
        sql=_joined(max_history),
        order_by=("sample_id",),
        dropped=dropped,
        tables=tables,
    )


def _joined(max_history) -> str:
    """SQL of impressions with what is common to several."""
    return f"""
        SELECT s.sample_id::BIGINT AS sample_id, TRY_CAST(s.click AS DOUBLE) AS click,
               TRY_CAST(s.conversion AS DOUBLE) AS conversion, c.* EXCLUDE (common_feature_index),
               {_fields((*ITEM, *CROSS, *POSITION), max_history, "s.feature_list")}
        FROM (FROM {IMPRESSIONS} WHERE NOT coalesce({IMPOSSIBLE}, false)) s
        LEFT JOIN (
            SELECT common_feature_index, {_fields((*USER, *HISTORIES), max_history)}
            FROM files.common
            WHERE common_feature_index IS DISTINCT FROM 'common_feature_index'
        ) c USING (common_feature_index)"""


def _fields(fields, most, column="feature_list"):
    """SQL of columns named as the fields: the id of a single-valued one; of a multi-valued one the
    ids, and the values, which fall.
    """
    entries = f"string_split({column}, {ENTRY})"
    made = []
    for field in fields:
        own = f"list_filter({entries}, lambda entry: starts_with(entry, '{field}' || {ID}))"

        def name(entry):
            return f"split_part(split_part({entry}, {ID}, 2), {VALUE}, 1)"

        if field not in HISTORIES:
            made.append(f'{name(f"{own}[1]")} AS "{field}"')
            continue
        value = f"-TRY_CAST(split_part(entry, {VALUE}, 2) AS DOUBLE)"
        pair = f"{{'value': {value}, 'id': {name('entry')}}}"
        by_value = f"list_transform({own}, lambda entry: {pair})"
        largest = f"list_sort({by_value})[:{most}]"
        made.append(f'list_transform({largest}, lambda entry: entry.id) AS "{field}"')
        made.append(f'list_transform({largest}, lambda entry: -entry.value) AS "{field}_values"')
    return ", ".join(made)
