"""What an existing repository says about its application."""
