"""The package as a library (docs/python.md); `blendin_local` itself names what is public."""
