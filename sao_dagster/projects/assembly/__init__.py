"""Declarations on their way to a `Project`: configuration settled, references resolved, SQL rendered, fingerprints taken."""
