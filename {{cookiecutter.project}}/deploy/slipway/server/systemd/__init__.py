"""Releases in virtualenvs; sh, systemd and Python."""
