"""What run.docker uses: the wheel installer, the slimming of the base, the health check."""
