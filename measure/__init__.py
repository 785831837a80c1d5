"""Measurements: this template beside its peers, and tables of what builds and runs."""
