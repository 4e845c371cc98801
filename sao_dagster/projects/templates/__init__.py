"""Jinja as dbt has it: templates, macros, and the names that they can use."""
