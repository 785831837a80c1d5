"""Code that runs in the builder container; it may use the libraries in requirements.txt."""
