"""What a pair is worth: one pass over reference answers, and what follows from it without a model."""
