"""Warehouses that only dbt reaches: what they hold, and in which version, is asked through the user's own adapter."""
