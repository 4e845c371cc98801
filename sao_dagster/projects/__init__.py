"""Where a `Project` comes from: models declared in Python, a folder in dbt's layout, or both together."""
