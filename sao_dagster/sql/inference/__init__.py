"""Properties of the result of a query (keys, not-null columns, values, types), proven from its SQL."""
