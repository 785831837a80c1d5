"""Used by base.docker: the installation of Debian packages, and the bytecode compiler."""
