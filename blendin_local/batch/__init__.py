"""Offline generation: read a file of prompts, write a file of answers, resume after any interruption."""
