"""Tables, plots, HTML pages, colours and explanations, shared by all front ends."""
