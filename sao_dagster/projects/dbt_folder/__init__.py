"""A reader of projects in dbt's layout: its YAML files, its SQL files, its profiles. Needs no dbt."""
