"""Code that runs while images are built, and inside them, with the image's Python.

It may use the standard library and `shared`. The modules that install wheels may also use PyPA's
libraries `installer` and `packaging`.
"""
