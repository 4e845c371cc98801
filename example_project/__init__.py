"""The example: a shop with raw data of its own, models, and its Dagster definitions."""
