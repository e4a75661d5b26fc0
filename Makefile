# From nothing but Python 3.11 or newer and make. Every target makes .venv first, once, and again when pyproject.toml changes.
# `make env LOCKED=1` takes the versions of requirements.lock, which the tests have passed with; other targets then use what is there.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 4
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements.lock
LOCKED ?=
SNAKEMAKE := $(BIN)/snakemake -j$(JOBS)
SHELL := /bin/bash

.PHONY: help env lock all smoke ablations weights folds report test lint benchmarks dashboards unlock clean
.DEFAULT_GOAL := help

help: ## these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

env: $(STAMP) ## the environment, in .venv; with tested versions: `make env LOCKED=1`

$(STAMP): pyproject.toml $(if $(LOCKED),$(LOCK) $(if $(wildcard $(VENV)/.locked),,force))
	@command -v $(PYTHON) >/dev/null || { echo "make: found no '$(PYTHON)', expected Python 3.11 or newer (make PYTHON=/path/to/python3.12 ...)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: found $$($(PYTHON) --version 2>&1), expected Python 3.11 or newer (make PYTHON=/path/to/python3.12 ...)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make environments, expected its 'venv' module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q $(if $(LOCKED),-c $(LOCK)) -e '.[dev]'
	@$(if $(LOCKED),touch,rm -f) $(VENV)/.locked
	@touch $@

force:

lock: $(STAMP) ## requirements.lock from the versions in .venv: after `make test` has passed with them
	@{ echo '# Tested versions of what dfp[dev] installs: `make env LOCKED=1` keeps to them (pip install -c).'; \
	  echo '# Not of nvidia-*, cuda-* and triton: those that a torch for CUDA brings are as it asks for them.'; \
	  echo '# Remade by `make lock`, after `make test` has passed in an environment without it. Do not edit.'; \
	  $(BIN)/python -c 'import sys; print("# python %d.%d.%d" % sys.version_info[:3])'; \
	  $(BIN)/python -m pip --disable-pip-version-check freeze --exclude-editable | sed -E 's/\+[A-Za-z0-9.]+$$//'; } >$(LOCK).part
	@mv $(LOCK).part $(LOCK)

all: $(STAMP) ## every table, figure and claim: `make all JOBS=2 ARGS="--config scale=paper"`
	$(SNAKEMAKE) all $(ARGS)

smoke: $(STAMP) ## the same at the smallest scale, a few minutes
	$(SNAKEMAKE) all --config scale=smoke $(ARGS)

ablations: $(STAMP) ## the experiments that are no part of `all`
	$(SNAKEMAKE) ablations $(ARGS)

weights: $(STAMP) ## the posterior of `dfp infer`, into results/<scale>/weights: 90 minutes; with recordings by ARGS="--config recordings=FOLDER"
	$(SNAKEMAKE) weights $(ARGS)

folds: $(STAMP) ## the networks that `real_cells` scores, each without some cells: 40 minutes after the weights; ARGS="--config recordings=FOLDER"
	$(SNAKEMAKE) folds $(ARGS)

report: $(STAMP) ## report.html, self-contained, of what is there: the newest scale (with `overrides=`, of those), or ARGS="--config scale=paper"
	@args='$(ARGS)'; \
	if [[ "$$args" != *scale=* ]]; then \
	  [[ "$$args" =~ overrides=([^[:space:]]+) ]] && { file="$${BASH_REMATCH[1]##*/}"; of="-$${file%.*}"; }; \
	  made=$$(ls -t results/{default,smoke,paper}"$$of"/claims.csv 2>/dev/null | head -n 1); \
	  [ -n "$$made" ] || { echo "make: found no results/<scale>$$of/claims.csv, expected one (make all or make smoke makes it)" >&2; exit 2; }; \
	  made=$$(basename "$$(dirname "$$made")"); scale="--config scale=$${made%"$$of"}"; \
	  if [[ "$$args" == *--config* ]]; then args="$${args/--config/$$scale}"; else args="$$scale $$args"; fi; \
	fi; \
	$(SNAKEMAKE) all --report report.html --report-metadata workflow/report.yaml $$args

# a worker a core; a file stays on one worker, which makes its fixtures once
test: $(STAMP) ## the tests: `make test ARGS="-m 'not workflow'"`, in one process with ARGS=-n0
	OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## ruff, mypy and snakefmt
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules

benchmarks: $(STAMP) ## samplers, gradients and training steps against the clock, into results/benchmarks (leave the machine alone)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/samplers.py results/benchmarks/samplers.csv --threads 1 2
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/samplers.py --check 1e9
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/relaxed_gradients.py results/benchmarks/relaxed_gradients.csv
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training_step.py results/benchmarks/training_step.csv
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training_step.py results/benchmarks/training_step_long.csv \
	  --sizes 100_cells_long --runs factorised fixed_point compiled sequential --rounds 5

dashboards: $(STAMP) ## the training curves in the terminal; no account, no server
	@[ -d wandb ] || { echo "make: found no folder 'wandb', expected runs there (make all makes them)" >&2; exit 2; }
	$(BIN)/wandb leet ./wandb

unlock: $(STAMP) ## after Snakemake itself was killed
	$(SNAKEMAKE) --unlock

clean: ## removes what was made, results included; not .venv, nor the reference results
	find results figures -mindepth 1 -maxdepth 1 ! -name reference ! -name README.md -exec rm -rf {} +
	rm -rf report.html .snakemake .mypy_cache .ruff_cache .pytest_cache .hypothesis wandb
