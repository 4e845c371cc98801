"""Data tests: which of them share a statement, running them, and their verdicts."""
