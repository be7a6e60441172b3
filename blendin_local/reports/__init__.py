"""What `tune` and `compare` found, drawn from their documents: pages, Markdown, CSV, and for the terminal."""
