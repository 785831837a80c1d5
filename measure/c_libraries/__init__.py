"""A table of packages that need a C library, built from source."""
