"""What a pair is worth: one pass over reference answers, and what follows from it without a model."""

BUDGET = 6000
"""Positions that are scored unless told otherwise: enough for intervals of about 2 % on the demo pair."""
