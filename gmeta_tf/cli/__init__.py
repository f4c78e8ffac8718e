"""The console script `gmeta`: one file a subcommand."""
