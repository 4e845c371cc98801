"""What sqlglot knows of a query: its fingerprint, what in it is volatile, where common table expressions go."""
