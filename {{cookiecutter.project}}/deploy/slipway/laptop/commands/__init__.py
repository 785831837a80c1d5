"""One module for each command: it reads the settings, calls the other rooms and prints."""
