"""What several warehouses have in common."""
