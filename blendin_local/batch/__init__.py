"""Offline generation: a file of prompts in, a file of answers out, nothing lost on the way."""
