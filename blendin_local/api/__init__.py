"""The public Python interface (docs/python.md); `blendin_local` exports its names."""
