"""From words or files to a Task with weights and inputs; this package imports `task`, `spec`, `errors` and `util`, and torch lazily."""
