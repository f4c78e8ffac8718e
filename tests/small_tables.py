"""A log whose colours come from a side table, and what preparation reads of both."""

from gmeta_tf.metaio.engine import DuckDB
from gmeta_tf.metaio.sources.reading import make_views
from gmeta_tf.metaio.sources.sides import join_sides
from gmeta_tf.schema import Categorical, Schema

SCHEMA = Schema("user", "click", (Categorical("colour"),))
LOG = "user,item,time\nu1,i1,3\nu2,i9,4\n"


def rows(source, tmp_path, columns="*"):
    (tmp_path / "work").mkdir()
    engine = DuckDB(str(tmp_path / "work"), memory="200MB")
    make_views(engine, source.tables)
    join_sides(engine, source.sides, {"colour", "user", "click", "time"})
    found = engine.rows(f"SELECT {columns} FROM ({source.sql})")
    engine.close()
    return found
