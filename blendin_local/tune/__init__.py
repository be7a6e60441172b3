"""Tune a pair: score every setting from one teacher-forced pass over reference answers."""

BUDGET = 6000
"""Positions to score by default: enough for intervals of about 2 % on the demo pair."""
