# deploy.mk: the make targets. Each one runs the command of its name: python3 deploy/slipway NAME.
#
# A Makefile only needs the line `include deploy/deploy.mk`, anywhere in it. Its own default goal,
# variables and targets do not change. Every target here is also called slipway-NAME; where the
# Makefile has a target with one of the names below, the plain name stays the Makefile's.
# `DEPLOY_PREFIX := NAME-` above the include gives the targets that prefix and no plain names, so that
# a Makefile can include several of these files. No variable of a Makefile reaches the commands: they
# read settings.mk, and variables on make's command line take precedence over it.

DEPLOY_SEEN ?=
DEPLOY_FILE := $(lastword $(MAKEFILE_LIST))
DEPLOY_FOLDER := $(patsubst %/,%,$(dir $(DEPLOY_FILE)))

DEPLOY_TARGETS := help adopt lock upgrade base builder native wheels image check-image verify size run stop push \
	start restart remove \
	deploy rollback status releases logs shell unlock deploy-venv rollback-venv status-venv \
	logs-venv unlock-venv venv serve registry-up registry-down registry-gc clean

DEPLOY_PREFIX ?= slipway-
DEPLOY_RULES := $(addprefix $(DEPLOY_PREFIX),$(DEPLOY_TARGETS))
DEPLOY_GOAL := $(.DEFAULT_GOAL)
DEPLOY_RECIPEPREFIX := $(if $(filter undefined,$(origin .RECIPEPREFIX)),,$(.RECIPEPREFIX))
.RECIPEPREFIX :=

# The Makefile's own targets, as NAME@FILE:LINE, also those further down in a file that is being read.
$(eval DEPLOY_THEIRS := $(shell awk -f '$(DEPLOY_FOLDER)/slipway/laptop/makefile_targets.awk' $(MAKEFILE_LIST)))
DEPLOY_NAME = $(firstword $(subst @, ,$1))
DEPLOY_WHERE = $(firstword $(foreach each,$(DEPLOY_THEIRS),$(if $(filter $(call DEPLOY_NAME,$(each)),$1),$(lastword $(subst @, ,$(each))))))
DEPLOY_THEIR_NAMES := $(foreach each,$(DEPLOY_THEIRS),$(call DEPLOY_NAME,$(each)))
DEPLOY_TAKEN := $(filter $(DEPLOY_THEIR_NAMES),$(DEPLOY_TARGETS))
DEPLOY_PLAIN := $(if $(filter slipway-,$(DEPLOY_PREFIX)),$(filter-out $(DEPLOY_TAKEN),$(DEPLOY_TARGETS)))

# The goals of this make, by their plain names. The steps of a build are done by one command, when the
# first of them is due.
DEPLOY_GOALS := $(strip $(foreach goal,$(MAKECMDGOALS),$(filter $(DEPLOY_PLAIN),$(goal)) $(patsubst $(DEPLOY_PREFIX)%,%,$(filter $(DEPLOY_RULES),$(goal)))))
DEPLOY_STEPS := $(filter base builder wheels image,$(DEPLOY_GOALS))
DEPLOY_COMMAND = $(patsubst $(DEPLOY_PREFIX)%,%,$@)
DEPLOY_WORDS = $(if $(filter $(DEPLOY_COMMAND),$(DEPLOY_STEPS)),$(DEPLOY_STEPS),$(DEPLOY_COMMAND))
DEPLOY_IS_DONE = $(filter-out $(firstword $(DEPLOY_STEPS)),$(filter $(DEPLOY_COMMAND),$(DEPLOY_STEPS)))

ifneq ($(filter $(DEPLOY_RULES),$(DEPLOY_THEIR_NAMES) $(DEPLOY_SEEN)),)
$(error $(DEPLOY_FILE): these targets exist already: write DEPLOY_PREFIX := NAME- above its include)
endif
DEPLOY_SEEN := $(DEPLOY_SEEN) $(DEPLOY_RULES)

# Names that the commands read from the environment: a makefile's own variables of these names are
# something else.
DEPLOY_KNOWN := PROJECT PYTHON NATIVE RUN_CA CHECK_IMAGE COMMAND FILES PORT HEALTH HEALTH_TIMEOUT BASE_IMAGE DEPLOY_HOST \
	BIND PORTS VOLUMES MEMORY PIDS STOP_TIMEOUT UNHARDEN RUN_OPTIONS REGISTRY_PORT DOCKER SSH PLATFORM TAG BUILD_NETWORK BUILD_MEMORY \
	CANDIDATE KEEP STEADY WATCH LOCK_WAIT PARALLEL PROGRAM RELEASE DRY_RUN FORMAT FOLLOW \
	LINES SINCE GREP ON \
	ADD FIND YES VERBOSE
DEPLOY_SET = $(foreach name,$(DEPLOY_KNOWN),$(if $(filter file override,$(origin $(name))),$(name)))
DEPLOY_UNSET = $(if $(strip $(DEPLOY_SET)),unset $(strip $(DEPLOY_SET)); )

# Only for the recipes here. DEPLOY_OVERRIDES names the variables of make's command line, so that one
# that merely is in the environment does not count; DEPLOY_GOALS, since work for a later goal can
# begin early; DEPLOY_OWN, the Makefile's own targets, which are pointed out once.
$(DEPLOY_RULES): export DEPLOY_OVERRIDES := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
$(DEPLOY_RULES): export DEPLOY_GOALS := $(DEPLOY_GOALS)
$(DEPLOY_RULES): export DEPLOY_PREFIX := $(DEPLOY_PREFIX)
$(DEPLOY_RULES): export DEPLOY_PLAIN := $(DEPLOY_PLAIN)
$(DEPLOY_RULES): export DEPLOY_OWN := $(if $(filter slipway-,$(DEPLOY_PREFIX)),$(foreach name,$(DEPLOY_TAKEN),$(name)@$(strip $(call DEPLOY_WHERE,$(name)))))
$(DEPLOY_RULES): DEPLOY_FOLDER := $(DEPLOY_FOLDER)
$(DEPLOY_RULES): DEPLOY_STEPS := $(DEPLOY_STEPS)

.PHONY: $(DEPLOY_RULES) $(DEPLOY_PLAIN)
ifneq ($(DEPLOY_PLAIN),)
$(DEPLOY_PLAIN): %: $(DEPLOY_PREFIX)%
endif

$(DEPLOY_PREFIX)deploy: $(DEPLOY_PREFIX)push
$(DEPLOY_PREFIX)deploy-venv: $(DEPLOY_PREFIX)wheels

# -S: nothing that is installed for Python is needed, or read.
$(DEPLOY_RULES):
	@$(if $(DEPLOY_IS_DONE),:,$(DEPLOY_UNSET)python3 -S '$(DEPLOY_FOLDER)/slipway' $(DEPLOY_WORDS))

# A Makefile without targets of its own has this default goal.
.DEFAULT_GOAL := $(or $(DEPLOY_GOAL),$(if $(DEPLOY_THEIR_NAMES),,$(DEPLOY_PREFIX)help))
.RECIPEPREFIX := $(DEPLOY_RECIPEPREFIX)
