"""Public repositories that were not made for this template, adopted and built: a table."""
