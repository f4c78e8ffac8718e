"""Raw formats, one a file: each gives the SQL of a table of interactions and its schema."""
