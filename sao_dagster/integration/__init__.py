"""Dagster: assets, checks, the evaluator sensor, jobs, schedules, resources. The only package that imports it."""
