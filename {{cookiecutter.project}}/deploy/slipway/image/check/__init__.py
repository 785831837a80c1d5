"""The inspection of a finished image from inside, with nothing but the standard library.

Only this folder is mounted into the image.
"""
