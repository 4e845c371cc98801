"""The shared state: one row by environment and model, behind one protocol."""
