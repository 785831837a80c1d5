# Deployment settings. This is the only file in deploy/ that you edit.
# Variables on make's command line take precedence: make run PORT=9000
# Every setting is explained by: make help

# Project name. The images are called <PROJECT>-base, <PROJECT>-builder and <PROJECT>-run.
PROJECT := {{ cookiecutter.project }}

# The interpreter: pypy3 or python3.
PYTHON :={{ (' ' + cookiecutter.__python).rstrip() }}

# C libraries that the Python packages need, by any name; apt:PACKAGE; build:PACKAGE is not shipped.
NATIVE :={{ (' ' + cookiecutter.__native.strip()).rstrip() }}

# Check every new image for missing libraries and failing imports: yes or no.
CHECK_IMAGE := yes

# The console script that the container runs, and its arguments; or sh -c '…', with $$ for $.
COMMAND :={{ (' ' + cookiecutter.__command).rstrip() }}

# Files and folders to copy unchanged, for applications without a pyproject.toml
# (app.py templates static). The application starts in their directory.
FILES :=

# The port that it listens on; the application finds it in its environment as PORT.
PORT := {{ cookiecutter.port }}

# What the base image starts from.
BASE_IMAGE := {{ cookiecutter.base_image }}

# Health check: a path requested on PORT, tcp (PORT accepts connections), none,
# or ends (a one-off job that must exit with status 0).
HEALTH := {{ cookiecutter.__health }}

# The server that make deploy is for, as user@server; the environment may say another.
DEPLOY_HOST ?={{ (' ' + cookiecutter.deploy_host).rstrip() }}

# The container that runs the application:

# More ports than PORT, as 9000:9000 or 127.0.0.1:9000:9000/udp.
PORTS :=

# Persistent storage: named volumes (shop-files:/files) or directories of the server (/srv/x:/x:ro).
VOLUMES :={{ ' ' + cookiecutter.project + '-files:/files' if cookiecutter.app == 'attachments' }}

# How much memory it may take.
MEMORY := 1g

# How many processes and threads it may have.
PIDS := 512

# Seconds that it has to end after SIGTERM, with the work that it has begun.
STOP_TIMEOUT := 10

# Hardening to turn off: non-root read-only capabilities privileges pids memory init log.
UNHARDEN :=

# Other options of docker run, as --network backend.
RUN_OPTIONS :=

# The port of the registry on 127.0.0.1 here. Servers do not see it.
REGISTRY_PORT := 5051
