"""Models and pairs by name: the catalogue, downloads, discovery, memory estimates, loading."""
