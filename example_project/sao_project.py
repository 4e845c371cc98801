"""Models declared in Python, beside the folder of SQL files. `load_project` calls `declare`."""

from sao_dagster import Column, SqlProject

TIERS = {"gold": 20_000, "silver": 8_000, "bronze": 0}  # cents spent, from the best tier down


def declare(project: SqlProject) -> None:
    """Add what is easier to say in Python than in SQL."""

    @project.model(
        materialized="table",
        tags=["report"],
        columns={
            "customer_id": Column(description="one row for each", data_tests=("unique", "not_null")),
            "tier": Column(data_tests=({"accepted_values": {"values": list(TIERS)}},)),
        },
    )
    def customer_tiers(ref):
        """The tier that each customer has reached; its thresholds are a Python dictionary."""
        cases = " ".join(f"when spent_cents >= {least} then '{tier}'" for tier, least in TIERS.items())
        return f"select customer_id, case {cases} end as tier from {ref('customers')}"
