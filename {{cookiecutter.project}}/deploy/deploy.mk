# deploy.mk: the make targets, one line each; the work is in the scripts beside this file.
#
# `include deploy/deploy.mk` is all that a Makefile needs, anywhere in it. What it had before stays as
# it was: the goal of a bare make, its variables, and its targets. Where it has one of the names below,
# that is its own, and ours is slipway-NAME, as all of them are. `DEPLOY_PREFIX := NAME-` above the
# include gives them that prefix and no plain names, so that a Makefile can include several of these.
# No variable of a Makefile reaches the scripts: they read settings.mk, and what is typed on make's
# command line beats that.

DEPLOY_SEEN ?=
DEPLOY_FILE := $(lastword $(MAKEFILE_LIST))
DEPLOY_FOLDER := $(patsubst %/,%,$(dir $(DEPLOY_FILE)))

DEPLOY_TARGETS := help adopt lock upgrade base builder native wheels image check-image verify size run stop push \
	deploy rollback status releases logs shell unlock deploy-venv rollback-venv status-venv \
	logs-venv unlock-venv venv serve registry-up registry-down registry-gc clean

DEPLOY_PREFIX ?= slipway-
DEPLOY_RULES := $(addprefix $(DEPLOY_PREFIX),$(DEPLOY_TARGETS))
DEPLOY_GOAL := $(.DEFAULT_GOAL)
DEPLOY_RECIPEPREFIX := $(if $(filter undefined,$(origin .RECIPEPREFIX)),,$(.RECIPEPREFIX))
.RECIPEPREFIX :=

# Their targets, as NAME@FILE:LINE, also those that stand further down in a file that is being read.
$(eval DEPLOY_THEIRS := $(shell awk -f '$(DEPLOY_FOLDER)/targets.awk' $(MAKEFILE_LIST)))
DEPLOY_NAME = $(firstword $(subst @, ,$1))
DEPLOY_WHERE = $(firstword $(foreach each,$(DEPLOY_THEIRS),$(if $(filter $(call DEPLOY_NAME,$(each)),$1),$(lastword $(subst @, ,$(each))))))
DEPLOY_THEIR_NAMES := $(foreach each,$(DEPLOY_THEIRS),$(call DEPLOY_NAME,$(each)))
DEPLOY_TAKEN := $(filter $(DEPLOY_THEIR_NAMES),$(DEPLOY_TARGETS))
DEPLOY_PLAIN := $(if $(filter slipway-,$(DEPLOY_PREFIX)),$(filter-out $(DEPLOY_TAKEN),$(DEPLOY_TARGETS)))

# What was typed, by the plain names; and of these the steps of the build, which are done by one
# script, when the first of them is due.
DEPLOY_GOALS := $(foreach goal,$(MAKECMDGOALS),$(filter $(DEPLOY_PLAIN),$(goal)) $(patsubst $(DEPLOY_PREFIX)%,%,$(filter $(DEPLOY_RULES),$(goal))))
DEPLOY_STEPS := $(filter base builder wheels image,$(DEPLOY_GOALS))
DEPLOY_STEP = $(patsubst $(DEPLOY_PREFIX)%,%,$@)
DEPLOY_BUILD = $(if $(filter-out $(firstword $(DEPLOY_STEPS)),$(filter $(DEPLOY_STEP),$(DEPLOY_STEPS))),:,'$(DEPLOY_FOLDER)/build.sh' $(if $(filter $(DEPLOY_STEP),$(DEPLOY_STEPS)),$(DEPLOY_STEPS),$(DEPLOY_STEP)))

ifneq ($(and $(filter slipway-,$(DEPLOY_PREFIX)),$(strip $(DEPLOY_TAKEN)),$(strip $(DEPLOY_GOALS) $(filter $(DEPLOY_TAKEN),$(MAKECMDGOALS)))),)
$(warning your own, and left alone: $(strip $(foreach name,$(DEPLOY_TAKEN),$(name) ($(strip $(call DEPLOY_WHERE,$(name)))))); of $(DEPLOY_FOLDER)/: $(addprefix $(DEPLOY_PREFIX),$(DEPLOY_TAKEN)))
endif
ifneq ($(filter $(DEPLOY_RULES),$(DEPLOY_THEIR_NAMES) $(DEPLOY_SEEN)),)
$(error $(DEPLOY_FILE): there are targets of these names already: write DEPLOY_PREFIX := NAME- above its include)
endif
DEPLOY_SEEN := $(DEPLOY_SEEN) $(DEPLOY_RULES)

# Names that the scripts know by themselves: where a makefile sets one, that is another thing.
DEPLOY_KNOWN := PROJECT PYTHON NATIVE CHECK_IMAGE COMMAND FILES PORT HEALTH HEALTH_TIMEOUT BASE_IMAGE DEPLOY_HOST \
	BIND PORTS VOLUMES MEMORY PIDS UNHARDEN RUN_OPTIONS REGISTRY_PORT DOCKER SSH PLATFORM TAG \
	CANDIDATE KEEP STEADY WATCH LOCK_WAIT PARALLEL PROGRAM RELEASE DRY_RUN FORMAT FOLLOW \
	ADD FIND YES VERBOSE QUIET ALONE BUILDER SETTINGS_BY
DEPLOY_SET = $(foreach name,$(DEPLOY_KNOWN),$(if $(filter file override,$(origin $(name))),$(name)))
DEPLOY_UNSET = $(if $(strip $(DEPLOY_SET)),unset $(strip $(DEPLOY_SET)); )
DEPLOY_TYPED = $(if $(filter file override undefined,$(origin $1)),,$($1))

# For the recipes here and no others. The names that were typed, so that a variable which merely
# stands in the environment does not count; and the goals, since what comes after one can begin before
# that has ended.
$(DEPLOY_RULES): export DEPLOY_OVERRIDES := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
$(DEPLOY_RULES): export DEPLOY_GOALS := $(DEPLOY_GOALS)
$(DEPLOY_RULES): DEPLOY_FOLDER := $(DEPLOY_FOLDER)
$(DEPLOY_RULES): DEPLOY_PREFIX := $(DEPLOY_PREFIX)
$(DEPLOY_RULES): DEPLOY_PLAIN := $(DEPLOY_PLAIN)
$(DEPLOY_RULES): DEPLOY_STEPS := $(DEPLOY_STEPS)

.PHONY: $(DEPLOY_RULES) $(DEPLOY_PLAIN)
ifneq ($(DEPLOY_PLAIN),)
$(DEPLOY_PLAIN): %: $(DEPLOY_PREFIX)%
endif

$(DEPLOY_PREFIX)help: ## list these
	@echo 'Settings are in $(DEPLOY_FOLDER)/settings.mk; a variable on the command line beats them:'
	@echo '  PORT BIND PYTHON NATIVE CHECK_IMAGE COMMAND HEALTH PLATFORM TAG DEPLOY_HOST HEALTH_TIMEOUT REGISTRY_PORT DOCKER SSH'
	@echo '  PORTS VOLUMES MEMORY PIDS UNHARDEN RUN_OPTIONS CANDIDATE KEEP STEADY WATCH LOCK_WAIT PARALLEL PROGRAM'
	@awk -F ': ?.*## ' -v plain=' $(DEPLOY_PLAIN) ' -v prefix='$(DEPLOY_PREFIX)' '/^\$$\(DEPLOY_PREFIX\).*## / { sub(/^[^)]*\)/, ""); printf "  make %-14s %s\n", (index(plain, " " $$1 " ") ? "" : prefix) $$1, $$2 }' '$(DEPLOY_FOLDER)/deploy.mk'

$(DEPLOY_PREFIX)adopt: ## read name, command, port and interpreter from this repository, show them, write them (YES=1)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/adopt.py'

$(DEPLOY_PREFIX)lock: ## write the lock (pip-compile with hashes, in the builder); pins stay
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/lock.sh' lock

$(DEPLOY_PREFIX)upgrade: ## the same, moving the pins, those of back ends and the base image
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/lock.sh' upgrade

$(DEPLOY_PREFIX)base: ## the base image: interpreter, C libraries, /appenv
	@$(DEPLOY_UNSET)$(DEPLOY_BUILD)

$(DEPLOY_PREFIX)builder: ## the builder image: base + compiler, headers, pip
	@$(DEPLOY_UNSET)$(DEPLOY_BUILD)

$(DEPLOY_PREFIX)native: ## add C libraries to NATIVE: what is missing, or ADD='libpq xml2'; FIND=foo.h names a package
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/words.py' $(if $(call DEPLOY_TYPED,ADD),add $(call DEPLOY_TYPED,ADD),$(if $(call DEPLOY_TYPED,FIND),find $(call DEPLOY_TYPED,FIND),auto))

$(DEPLOY_PREFIX)wheels: ## the wheelhouse: what the lock and the application name
	@$(DEPLOY_UNSET)$(DEPLOY_BUILD)

$(DEPLOY_PREFIX)image: ## the run image: base + wheelhouse
	@$(DEPLOY_UNSET)$(DEPLOY_BUILD)

$(DEPLOY_PREFIX)check-image: ## see that its C libraries are there and its modules import (part of image)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/build.sh' check

$(DEPLOY_PREFIX)verify: ## build it all again from nothing, and compare
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/verify.py'

$(DEPLOY_PREFIX)size: ## what the run image's megabytes are: layers, packages, wheels
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/size.py'

$(DEPLOY_PREFIX)run: ## run it here on PORT, as a server would
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/run.sh'

$(DEPLOY_PREFIX)stop: ## end what `make run` started
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/run.sh' stop

$(DEPLOY_PREFIX)push: ## send the image to the registry on loopback
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/push.py'

$(DEPLOY_PREFIX)deploy: $(DEPLOY_PREFIX)push ## put the pushed image on DEPLOY_HOST; keep it when healthy, else put back (DRY_RUN=1: say the plan)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' deploy

$(DEPLOY_PREFIX)rollback: ## the previous release on DEPLOY_HOST again, or RELEASE=…
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' rollback

$(DEPLOY_PREFIX)status: ## what runs on DEPLOY_HOST, and what is the matter (FORMAT=json)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' status

$(DEPLOY_PREFIX)releases: ## what a rollback can go to (FORMAT=json)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' releases

$(DEPLOY_PREFIX)logs: ## its log (FOLLOW=1 goes on)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' logs

$(DEPLOY_PREFIX)shell: ## a shell beside the application on DEPLOY_HOST
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' shell

$(DEPLOY_PREFIX)unlock: ## end a deploy that hangs on DEPLOY_HOST, and settle what it leaves
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/deploy.py' unlock

$(DEPLOY_PREFIX)deploy-venv: $(DEPLOY_PREFIX)wheels ## no Docker on DEPLOY_HOST: the wheels in a virtualenv there, run by systemd
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/appenv.py' deploy

$(DEPLOY_PREFIX)rollback-venv: ## the release before that, or RELEASE=…
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/appenv.py' rollback

$(DEPLOY_PREFIX)status-venv: ## what runs there, and what is the matter (FORMAT=json)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/appenv.py' status

$(DEPLOY_PREFIX)logs-venv: ## its log (FOLLOW=1 goes on)
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/appenv.py' logs

$(DEPLOY_PREFIX)unlock-venv: ## end a deploy that hangs there, and put back what ran
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/appenv.py' unlock

$(DEPLOY_PREFIX)venv: ## no Docker: the same pins in ./appenv, with this machine's interpreter
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/venv.sh'

$(DEPLOY_PREFIX)serve: ## run the application from ./appenv
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/venv.sh' serve

$(DEPLOY_PREFIX)registry-up: ## start the registry on 127.0.0.1:REGISTRY_PORT
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/registry.sh' up

$(DEPLOY_PREFIX)registry-down: ## stop it; its images stay
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/registry.sh' down

$(DEPLOY_PREFIX)registry-gc: ## remove this project's images from it, but the one that was pushed last
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/registry.sh' gc

$(DEPLOY_PREFIX)clean: ## remove what the others made, and only that
	@$(DEPLOY_UNSET)'$(DEPLOY_FOLDER)/clean.sh'

# A Makefile without targets of its own is for ours.
.DEFAULT_GOAL := $(or $(DEPLOY_GOAL),$(if $(DEPLOY_THEIR_NAMES),,$(DEPLOY_PREFIX)help))
.RECIPEPREFIX := $(DEPLOY_RECIPEPREFIX)
