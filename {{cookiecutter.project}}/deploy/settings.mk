# Deployment settings. This is the only file in deploy/ that you edit.
# Variables on make's command line take precedence: make run PORT=9000
# All settings: make help

# Project name. The images are called <PROJECT>-base, <PROJECT>-builder and <PROJECT>-run.
PROJECT := {{ cookiecutter.project }}

# Interpreter: pypy3 or python3.
PYTHON :={{ (' ' + cookiecutter.__python).rstrip() }}

# C libraries that the Python packages need, by any common name, for example: libpq xml2.
# apt:PACKAGE installs a Debian package; build:PACKAGE installs it for the build only.
NATIVE :={{ (' ' + cookiecutter.__native.strip()).rstrip() }}

# Check every new image for missing libraries and failing imports: yes or no.
CHECK_IMAGE := yes

# Command that the container runs: a console script and its arguments.
# For shell syntax: sh -c '…', with $$ for a dollar sign.
COMMAND :={{ (' ' + cookiecutter.__command).rstrip() }}

# Files and folders to copy unchanged, for applications without a pyproject.toml
# (app.py templates static). The application starts in their directory.
FILES :=

# Port that the application listens on. The application reads it from the variable PORT.
PORT := {{ cookiecutter.port }}

# Image that everything starts from, with its release.
BASE_IMAGE := {{ cookiecutter.base_image }}

# Health check: a path requested on PORT, tcp (PORT accepts connections), none,
# or ends (a one-off job that must exit with status 0).
HEALTH := {{ cookiecutter.__health }}

# Server to deploy to, as user@server. A variable in the environment takes precedence.
DEPLOY_HOST ?={{ (' ' + cookiecutter.deploy_host).rstrip() }}

# More published ports, as 9000:9000 or 127.0.0.1:9000:9000/udp.
PORTS :=

# Persistent storage: named volumes (shop-files:/files) or directories of the server (/srv/x:/x:ro).
VOLUMES :={{ ' ' + cookiecutter.project + '-files:/files' if cookiecutter.app == 'attachments' }}

# Memory limit of the container.
MEMORY := 1g

# Limit of its processes and threads.
PIDS := 512

# Hardening to turn off: non-root read-only capabilities privileges pids memory init log.
UNHARDEN :=

# More options of docker run, such as --network backend.
RUN_OPTIONS :=

# Port of the registry on 127.0.0.1, here and at the server's end of the tunnel.
REGISTRY_PORT := 5051
