"""Row-sharded embedding tables, exchanged once per step."""
