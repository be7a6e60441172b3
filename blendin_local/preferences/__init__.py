"""User preferences: their keys, the file that holds them, and writing to it."""
