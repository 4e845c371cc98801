"""dbt executes: its process, what it says of a project, and building with it, node by node, inside one `dbt build`.

No module of this package imports dbt, but those in `child`, which the Python of dbt's own environment runs.
"""
