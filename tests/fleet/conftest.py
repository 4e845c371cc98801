"""Code locations that only a deployment of the tests can load."""

collect_ignore = ["jobs_at_once.py", "steps_of_their_own.py"]
