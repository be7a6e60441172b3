"""Blend two quantized GGUF models token by token."""
