"""The model layer: the only part of the package that touches llama.cpp."""
