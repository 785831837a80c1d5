"""blobfiles beside a plain file and the ways that Python had before."""
