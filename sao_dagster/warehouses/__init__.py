"""Where models are built: one file per warehouse, behind one protocol."""
