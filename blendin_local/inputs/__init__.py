"""Read rows of input files: compressed streams, lines, JSON, CSV, and messages."""
