"""The SQL engine that does the heavy lifting, out of core.

`rows`, `samples` and `ids` make a plan of statements; an engine runs them. Everything after
`spread` is done bucket by bucket, each independent of the others, so that a distributed engine
could run the same plan: it needs these methods, no more.
"""

import glob
import os

import duckdb
import numpy as np


class DuckDB:
    """A database of one preparation, in a folder of its own.

    Args:
      scratch: folder for what does not fit in memory, and for spread rows.
      memory: limit of its memory, such as "2GB"; what Python and TensorFlow take comes on top.
      threads: 0: all cores.
    """

    def __init__(self, scratch: str, *, memory: str = "2GB", threads: int = 0):
        self._scratch = scratch
        self.threads = threads or len(os.sched_getaffinity(0))
        options: dict = {
            "memory_limit": memory,
            "threads": self.threads,
            "temp_directory": os.path.join(scratch, "spilled"),
        }
        try:
            self._sql = duckdb.connect(os.path.join(scratch, "tables.duckdb"), config=options)
        except duckdb.Error as error:
            raise ValueError(
                f"memory must be a size such as 2GB. Received: memory={memory!r} ({error}). Give "
                "another."
            ) from None

    def close(self):
        """Ends the database."""
        self._sql.close()

    def fork(self) -> "DuckDB":
        """The same database, for another thread."""
        twin = object.__new__(DuckDB)
        twin._scratch, twin.threads, twin._sql = self._scratch, self.threads, self._sql.cursor()
        return twin

    def columns(self, query: str) -> list[tuple[str, str]]:
        """(name, type) of each column of a query; names as the query has them, which may differ in
        case alone.
        """
        relation = self._sql.sql(query)
        return list(zip(relation.columns, map(str, relation.types), strict=True))

    def run(self, statement: str, values: list | None = None):
        """Runs a statement."""
        self._sql.execute(statement, values)

    def rows(self, query: str) -> list[tuple]:
        """All rows of a query."""
        return self._sql.execute(query).fetchall()

    def row(self, query: str) -> tuple:
        """The first row of a query; empty where there is none."""
        return self._sql.execute(query).fetchone() or ()

    def arrays(self, query: str) -> dict[str, np.ndarray]:
        """The columns of a query, which must fit in memory."""
        return self._sql.execute(query).fetchnumpy()

    def spread(self, query: str, name: str):
        """Keeps the rows of a query on disk, apart by its integer column `bucket`."""
        folder = os.path.join(self._scratch, name)
        self.run(
            f"COPY ({query}) TO {quoted(folder)} (FORMAT parquet, PARTITION_BY (bucket), "
            "COMPRESSION snappy)"
        )

    def keep(self, query: str, name: str, bucket: int):
        """Keeps the rows of a query on disk, as a bucket."""
        folder = self._folder(name, bucket)
        os.makedirs(folder)
        self.run(
            f"COPY ({query}) TO {quoted(os.path.join(folder, 'rows.parquet'))} (FORMAT parquet, "
            "COMPRESSION snappy)"
        )

    def kept(self, name: str, buckets: list[int]) -> str | None:
        """What SQL reads the rows of these buckets from, and of one bucket their `file_row_number`;
        None where they have none.
        """
        folders = [glob.escape(self._folder(name, bucket)) for bucket in buckets]
        files = sorted(
            file for folder in folders for file in glob.glob(os.path.join(folder, "*.parquet"))
        )
        return (
            f"read_parquet([{', '.join(map(quoted, files))}], hive_partitioning = false, "
            "file_row_number = true)"
            if files
            else None
        )

    def _folder(self, name, bucket):
        return os.path.join(self._scratch, name, f"bucket={bucket}")  # as PARTITION_BY names it


def quoted(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
