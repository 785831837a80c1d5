"""Public applications from PyPI, from a list of requirements to an answer of a server: a table."""
