"""A table of public repositories that are adopted and built without a change."""
