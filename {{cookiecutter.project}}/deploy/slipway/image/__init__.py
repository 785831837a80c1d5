"""Code that runs while images are built, and inside them."""
