"""Meta-IO: raw interactions to task files, and task files to batches."""
