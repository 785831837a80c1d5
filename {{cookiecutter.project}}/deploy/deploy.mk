# deploy.mk: the make targets, one line each; the work is in the scripts beside this file.
# `include deploy/deploy.mk` is all that a Makefile needs. No variable of yours is touched: settings
# are read from settings.mk by the scripts, and what is typed on make's command line beats them.

DEPLOY_FOLDER := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

# The names that were typed, so that a variable which merely stands in the environment does not count.
export DEPLOY_OVERRIDES := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))

# What comes after a target can begin before that has ended.
export DEPLOY_GOALS := $(MAKECMDGOALS)

# The steps of the build that were named are done by one script, when the first of them is due.
DEPLOY_STEPS := $(filter base builder wheels image,$(MAKECMDGOALS))
DEPLOY_BUILD = $(if $(filter-out $(firstword $(DEPLOY_STEPS)),$(filter $@,$(DEPLOY_STEPS))),:,'$(DEPLOY_FOLDER)/build.sh' $(if $(filter $@,$(DEPLOY_STEPS)),$(DEPLOY_STEPS),$@))

.PHONY: help lock upgrade base builder native wheels image check-image verify size run stop push deploy rollback status releases logs shell \
	unlock deploy-venv rollback-venv status-venv logs-venv unlock-venv venv serve registry-up registry-down registry-gc clean

help: ## list these
	@echo 'Settings are in $(DEPLOY_FOLDER)/settings.mk; a variable on the command line beats them:'
	@echo '  PORT BIND PYTHON NATIVE CHECK_IMAGE COMMAND HEALTH PLATFORM TAG DEPLOY_HOST HEALTH_TIMEOUT REGISTRY_PORT DOCKER SSH'
	@echo '  PORTS VOLUMES MEMORY PIDS UNHARDEN RUN_OPTIONS CANDIDATE KEEP WATCH LOCK_WAIT PARALLEL'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' '$(DEPLOY_FOLDER)/deploy.mk'

lock: ## write the lock (pip-compile with hashes, in the builder); pins stay
	@'$(DEPLOY_FOLDER)/lock.sh' lock

upgrade: ## the same, moving the pins, those of back ends and the base image
	@'$(DEPLOY_FOLDER)/lock.sh' upgrade

base: ## the base image: interpreter, C libraries, /appenv
	@$(DEPLOY_BUILD)

builder: ## the builder image: base + compiler, headers, pip
	@$(DEPLOY_BUILD)

native: ## add C libraries to NATIVE: what is missing, or ADD='libpq xml2'; FIND=foo.h names a package
	@'$(DEPLOY_FOLDER)/words.py' $(if $(ADD),add $(ADD),$(if $(FIND),find $(FIND),auto))

wheels: ## the wheelhouse: what the lock and the application name
	@$(DEPLOY_BUILD)

image: ## the run image: base + wheelhouse
	@$(DEPLOY_BUILD)

check-image: ## see that its C libraries are there and its modules import (part of image)
	@'$(DEPLOY_FOLDER)/build.sh' check

verify: ## build it all again from nothing, and compare
	@'$(DEPLOY_FOLDER)/verify.py'

size: ## what the run image's megabytes are: layers, packages, wheels
	@'$(DEPLOY_FOLDER)/size.py'

run: ## run it here on PORT, as a server would
	@'$(DEPLOY_FOLDER)/run.sh'

stop: ## end what `make run` started
	@'$(DEPLOY_FOLDER)/run.sh' stop

push: ## send the image to the registry on loopback
	@'$(DEPLOY_FOLDER)/push.sh'

deploy: push ## put the pushed image on DEPLOY_HOST; keep it when healthy, else put back (DRY_RUN=1: say the plan)
	@'$(DEPLOY_FOLDER)/deploy.py' deploy

rollback: ## the previous release on DEPLOY_HOST again, or RELEASE=…
	@'$(DEPLOY_FOLDER)/deploy.py' rollback

status: ## what runs on DEPLOY_HOST, and what is the matter (FORMAT=json)
	@'$(DEPLOY_FOLDER)/deploy.py' status

releases: ## what a rollback can go to (FORMAT=json)
	@'$(DEPLOY_FOLDER)/deploy.py' releases

logs: ## its log (FOLLOW=1 goes on)
	@'$(DEPLOY_FOLDER)/deploy.py' logs

shell: ## a shell beside the application on DEPLOY_HOST
	@'$(DEPLOY_FOLDER)/deploy.py' shell

unlock: ## end a deploy that hangs on DEPLOY_HOST, and settle what it leaves
	@'$(DEPLOY_FOLDER)/deploy.py' unlock

deploy-venv: wheels ## no Docker on DEPLOY_HOST: the wheels in a virtualenv there, run by systemd
	@'$(DEPLOY_FOLDER)/appenv.py' deploy

rollback-venv: ## the release before that, or RELEASE=…
	@'$(DEPLOY_FOLDER)/appenv.py' rollback

status-venv: ## what runs there, and what is the matter (FORMAT=json)
	@'$(DEPLOY_FOLDER)/appenv.py' status

logs-venv: ## its log (FOLLOW=1 goes on)
	@'$(DEPLOY_FOLDER)/appenv.py' logs

unlock-venv: ## end a deploy that hangs there, and put back what ran
	@'$(DEPLOY_FOLDER)/appenv.py' unlock

venv: ## no Docker: the same pins in ./appenv, with this machine's interpreter
	@'$(DEPLOY_FOLDER)/venv.sh'

serve: ## run the application from ./appenv
	@'$(DEPLOY_FOLDER)/venv.sh' serve

registry-up: ## start the registry on 127.0.0.1:REGISTRY_PORT
	@'$(DEPLOY_FOLDER)/registry.sh' up

registry-down: ## stop it; its images stay
	@'$(DEPLOY_FOLDER)/registry.sh' down

registry-gc: ## remove this project's images from it, but the one that was pushed last
	@'$(DEPLOY_FOLDER)/registry.sh' gc

clean: ## remove what the others made, and only that
	@'$(DEPLOY_FOLDER)/clean.sh'
