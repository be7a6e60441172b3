"""Shared building blocks of everything that is shown: tables, plots, pages, colours and explanations."""
