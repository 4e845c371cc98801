"""What happens in a run: observing, planning, the order of steps, leases, builds, data tests, reports."""
