"""Pairs, methods and single models side by side on tasks: arms, kept answers, statistics."""
