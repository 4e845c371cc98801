"""How the tables of the state came to be as they are: one file in `versions` for each change, run by Alembic."""
