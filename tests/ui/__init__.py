"""The real UI: `dagster dev` on the example, asked over GraphQL and looked at in a headless browser."""
