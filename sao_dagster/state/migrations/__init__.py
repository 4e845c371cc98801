"""How the tables of the state came to be: one module for each version, whose `upgrade` changes the tables of the version before.

A migration that was released is never changed. Its statements are for SQLite and PostgreSQL alike.
"""
