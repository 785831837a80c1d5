"""Reaching servers over ssh, and running a job on each of them."""
