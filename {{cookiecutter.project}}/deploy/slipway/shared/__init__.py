"""Code that runs in more than one place. It may use the standard library and `vendor`."""
