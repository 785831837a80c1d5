"""Code that runs in more than one place; standard library only."""
