"""Code that is sent to a server over ssh and runs there."""
