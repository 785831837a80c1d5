"""Releases in containers; POSIX sh and the docker command only."""
