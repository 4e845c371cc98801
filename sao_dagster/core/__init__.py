"""What a project is, what is known of it, and what follows: pure functions over frozen data.

Nothing in this package reads a clock, a file, an environment variable or a database, and it imports nothing
of the rest of the package but `sao_dagster.errors`.
"""
