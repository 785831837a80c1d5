"""The inspection of a finished image from inside; standard library only."""
