"""What `./run` does: set up, send a real cohort of real customers to a partner over HTTP, compare, serve."""
