"""What base.docker copies: the installation of Debian packages, and bytecode."""
