"""The SQL engine that does the heavy lifting, out of core.

`rows`, `samples` and `ids` make a plan of statements; an engine runs them. Its tables keep the
order of the rows that they are made of, so that a row's number says where it stands.
"""

import copy
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping

import duckdb
import numpy as np
import pyarrow

MOST_THREADS = 16  # a core
FETCHED = 1 << 16  # rows at a time
GROUP_BYTES = 1 << 28  # of a group of rows, which is written as a whole
VECTOR, MOST_IN_GROUP = 2048, 122_880  # rows: groups are multiples of the one, the other is usual
MEMORY = re.compile(r"\s*[0-9.]+\s*([kKmMgGtT]i?)?[bB]\s*")
MAGIC = re.compile(r"[*?\[\]{}\\]")  # what DuckDB takes for a pattern, or more, in a file's name


class DuckDB:
    """A database of one preparation, in a folder of its own.

    Args:
      scratch: folder for its tables, and for what does not fit in memory.
      memory: limit of its memory, such as "2GB"; what Python and TensorFlow take comes on top.
      threads: 0: all cores.
      copies: dictionary to use as `copies`.
      columns: of the widest table, about: groups of rows are so small that a few fit in memory.

    Attributes:
      copies: file that was made for the engine to read -> the user's.
    """

    def __init__(
        self,
        scratch: str,
        *,
        memory: str = "2GB",
        threads: int = 0,
        copies=None,
        columns: int = 1,
    ):
        cores = len(os.sched_getaffinity(0))
        if not 0 <= threads <= MOST_THREADS * cores:
            rule = f"most {MOST_THREADS * cores} on {cores} cores" if threads > 0 else "least 0"
            raise ValueError(
                f"threads must be at {rule}. Received: threads={threads}. Give 0 for one a core."
            )
        if not MEMORY.fullmatch(memory):
            raise ValueError(
                f"memory must be a size such as 2GB. Received: memory={memory!r}. Give another."
            )
        self.copies: dict[str, str] = {} if copies is None else copies
        self._link = ""
        if MAGIC.search(scratch):
            self._link = tempfile.mkdtemp(prefix="gmeta-")
            os.symlink(os.path.abspath(scratch), os.path.join(self._link, "work"))
            scratch = os.path.join(self._link, "work")
        self._scratch = scratch
        self.threads = threads or cores
        options: dict = {
            "memory_limit": memory,
            "threads": self.threads,
            "temp_directory": os.path.join(scratch, "spilled"),
        }
        self._sql = duckdb.connect(config=options)
        fitting = GROUP_BYTES // (8 * columns) // VECTOR * VECTOR
        file = quoted(os.path.join(scratch, "tables.duckdb"))
        size = min(max(fitting, VECTOR), MOST_IN_GROUP)
        self.run(f"ATTACH {file} AS work (ROW_GROUP_SIZE {size})")
        self._begin()
        self.run("SET force_compression = 'uncompressed'")  # what is read twice costs more to press

    def close(self):
        """Ends the database."""
        self._sql.close()
        if self._link:
            shutil.rmtree(self._link)

    def fork(self) -> "DuckDB":
        """The same database, for another thread."""
        twin = copy.copy(self)
        twin._sql = self._sql.cursor()
        twin._begin()
        return twin

    def _begin(self):
        """Sets what each connection sets for itself."""
        self.run("USE work")
        self.run("SET TimeZone = 'UTC'")

    def copy_from(self, table: pyarrow.Table, file: str):
        """Writes a table in memory as Parquet."""
        self._sql.register("memory", table)
        self.run(f"COPY (FROM memory) TO {quoted(file)} (FORMAT parquet)")
        self._sql.unregister("memory")

    def folder(self, name: str) -> str:
        """A folder of its own below the engine's."""
        return tempfile.mkdtemp(prefix=f"{name}-", dir=self._scratch)

    def columns(self, query: str) -> list[tuple[str, str]]:
        """(name, type) of each column of a query; names as the query has them, which may differ in
        case alone.
        """
        relation = self._sql.sql(query)
        return list(zip(relation.columns, map(str, relation.types), strict=True))

    def run(self, statement: str, values: list | None = None):
        """Runs a statement."""
        self._sql.execute(statement, values)

    def drop(self, name: str):
        """Removes a view or a table."""
        (kind,) = self.row(
            f"SELECT table_type FROM information_schema.tables WHERE table_name = {quoted(name)} "
            "AND table_schema = 'main'"
        )
        self.run(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {name}")

    def rows(self, query: str) -> list[tuple]:
        """All rows of a query."""
        return self._sql.execute(query).fetchall()

    def row(self, query: str) -> tuple:
        """The first row of a query; empty where there is none."""
        found = self._sql.execute(query).fetchone()
        self._sql.abort()  # of the other rows
        return found or ()

    def arrays(self, query: str) -> dict[str, np.ndarray]:
        """The columns of a query, which must fit in memory; a missing number is NaN."""
        table = self.arrow(query)
        return {name: table[name].to_numpy() for name in table.column_names}

    def arrow(self, query: str) -> pyarrow.Table:
        """The rows of a query, which must fit in memory."""
        return self._sql.sql(query).to_arrow_table()

    def stream(self, query: str) -> Iterator[pyarrow.RecordBatch]:
        """The rows of a query, some at a time."""
        yield from self.fork()._sql.sql(query).to_arrow_reader(FETCHED)

    def listed_pairs(self, file: str) -> str:
        """SQL of a file of JSON lines, each a text and a count: text, n, and place, from 0."""
        lines = (
            f"read_csv({quoted(file)}, columns = {{'line': 'VARCHAR'}}, auto_detect = false, "
            "header = false, delim = chr(0), quote = '', escape = '', new_line = '\\n', "
            "max_line_size = 100000000)"
        )
        return (
            "SELECT line::JSON->>0 AS text, (line::JSON->>1)::BIGINT AS n, "
            f"row_number() OVER () - 1 AS place FROM {lines}"
        )


def named(column: str) -> str:
    """The name of a column as SQL has it."""
    return '"' + column.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def struct(columns: Mapping[str, str]) -> str:
    """SQL of column -> type."""
    return (
        "{" + ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in columns.items()) + "}"
    )
