"""PostgreSQL: many processes build in it at once."""
