"""Used by run.docker: the wheel installer, the removal of unused files, the health check.

The modules run with the image's Python and import shared/ and the PyPA's libraries only.
"""
