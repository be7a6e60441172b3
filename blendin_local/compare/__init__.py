"""Compare pairs, methods and single models on tasks."""
