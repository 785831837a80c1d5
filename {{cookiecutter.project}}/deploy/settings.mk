# The only file in deploy/ with answers in it; the scripts read it too.
# A variable on make's command line beats it: make run PORT=9000

# The images are <PROJECT>-base, <PROJECT>-builder and <PROJECT>-run.
PROJECT := {{ cookiecutter.project }}

# The interpreter: pypy3 or python3.
PYTHON :={{ (' ' + cookiecutter.__python).rstrip() }}

# C libraries that the Python packages need, by any name; apt:PACKAGE; build:PACKAGE is not shipped.
NATIVE :={{ (' ' + cookiecutter.__native.strip()).rstrip() }}

# Whether make image sees that all libraries are there and all modules import: yes or no.
CHECK_IMAGE := yes

# The console script that the container runs, and its arguments; or sh -c '…', with $$ for $.
COMMAND :={{ (' ' + cookiecutter.__command).rstrip() }}

# Files and folders that no wheel brings: app.py templates static. They are where it starts.
FILES :=

# The port that it listens on; the application finds it in its environment as PORT.
PORT := {{ cookiecutter.port }}

# What the base image starts from.
BASE_IMAGE := {{ cookiecutter.base_image }}

# What says that it is well: a path that answers on PORT, tcp (PORT is open), none; ends, of a job.
HEALTH := {{ cookiecutter.__health }}

# The server that make deploy is for, as user@server; the environment may say another.
DEPLOY_HOST ?={{ (' ' + cookiecutter.deploy_host).rstrip() }}

# More ports than PORT, as 9000:9000 or 127.0.0.1:9000:9000/udp.
PORTS :=

# What outlives a container: a volume that docker keeps, as shop-files:/files, or /srv/x:/x:ro.
VOLUMES :={{ ' ' + cookiecutter.project + '-files:/files' if cookiecutter.app == 'attachments' }}

# How much memory it may take.
MEMORY := 1g

# How many processes and threads it may have.
PIDS := 512

# What of the hardening to turn off: non-root read-only capabilities privileges pids memory init log.
UNHARDEN :=

# Other options of docker run, as --network backend.
RUN_OPTIONS :=

# The registry on 127.0.0.1, here and at the end of the tunnel.
REGISTRY_PORT := 5051
