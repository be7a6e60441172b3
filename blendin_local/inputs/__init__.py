"""Reading rows: streams that may be compressed, lines, JSON, CSV, and messages in them."""
