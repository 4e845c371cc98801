"""Soundness of the proofs: random queries over random tables, on real engines."""
