"""A table of applications from PyPI that are built and deployed to a server."""
