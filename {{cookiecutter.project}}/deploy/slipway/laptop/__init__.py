"""Code that runs on the machine where make is typed: Python 3.9 or later with nothing installed."""
