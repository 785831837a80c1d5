"""C libraries: the catalogue, and what failed builds say about them."""
