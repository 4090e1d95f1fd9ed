# Two commands matter: `make repro` builds every engine of params.yaml, `make test` checks enginery.
# Each makes what it needs: a virtual environment in .venv from a version-pinned lock.

PYTHON ?= python3.11
VENV := .venv
# The stages are commands of DVC, which looks them up on the PATH.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := true
# Compiled files in a folder that DVC hashes would look like a change of the model.
export PYTHONDONTWRITEBYTECODE := 1

# Keyed by content: Git does not keep the times that make compares.
CHAIN := $(VENV)/chain-$(shell cksum < requirements/chain.txt | tr ' ' -).installed
DEV := $(VENV)/dev-$(shell cat requirements/chain.txt requirements/dev.txt requirements/conformance.txt | cksum | tr ' ' -).installed
RIVALS := $(VENV)/rivals-$(shell cat requirements/chain.txt requirements/dev.txt requirements/rivals.txt | cksum | tr ' ' -).installed
SERVING := $(VENV)/serving-$(shell cksum < requirements/serving.txt | tr ' ' -).installed
ENGINE ?=
MODEL ?=
LIKE ?= digits
BUDGET ?= 600
FRAMEWORK ?=
FRAMEWORKS ?=
KEEP ?=
SEED ?=
TRAINED = $(or $(MODEL),digits)
# A framework with an environment of its own trains there.
TRAINER = $(if $(wildcard requirements/export-$(TRAINED:digits-%=%).txt),$$(python -m stages.envs $(TRAINED:digits-%=%) --interpreter),python)

.PHONY: help repro check table test lint sshd fix model new envs device serve-check doctor device-test pins fuzz lock bench bench-quality conformance clean-venv

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

repro: $(CHAIN)  ## build, measure, gate and package every engine; closing table; FRAMEWORKS=all [KEEP=folder]: the demo of each framework
ifeq ($(FRAMEWORKS),)
	@python -m stages.check
	@status=0; python -m dvc repro --keep-going || status=$$?; python -m stages.table; exit $$status
else ifeq ($(FRAMEWORKS),all)
	@python -m stages.variant params.frameworks.yaml $(if $(KEEP),--keep "$(KEEP)")
else
	$(error FRAMEWORKS is `all`, or not given)
endif

check: $(CHAIN)  ## params.yaml against its schema and the files it names
	@python -m stages.check

table: $(CHAIN)  ## the closing table again
	@python -m stages.table

test: $(DEV) $(SERVING) sshd envs  ## lint, types, import contracts, all tests, and the real chain in a temporary clone
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python -m pytest

lint: $(DEV)  ## the fast part of `make test`
	ruff check .
	ruff format --check .
	mypy
	lint-imports

fix: $(DEV)  ## let ruff mend what it can
	ruff check --fix .
	ruff format .

sshd:
	@sh requirements/sshd.sh $(VENV)/sshd

model: $(CHAIN)  ## train a demo model again, in its own framework: make model [MODEL=digits-tensorflow]
	@interpreter=$(TRAINER) && set -x && "$$interpreter" models/$(TRAINED)/train.py

envs: $(CHAIN)  ## environments of TensorFlow, PaddlePaddle and MindSpore, ahead of their first use: make envs [FRAMEWORK=tensorflow]
	@python -m stages.envs $(FRAMEWORK)

device: $(CHAIN)  ## run an engine on this machine's GPU: make device ENGINE=digits-int8-b1
	@python -m stages.device $(ENGINE)

serve-check: $(SERVING)  ## packages in a real Triton server on loopback, over HTTP and gRPC: make serve-check [ENGINE=digits-int8-cpu]
	@python -m stages.serve $(ENGINE)

doctor: $(CHAIN)  ## this machine against every pin, and which engines could be built here
	@python -m stages.doctor

device-test: $(DEV) $(SERVING)  ## the tests that need a GPU
	PYTHON=$(VENV)/bin/python bench/device.sh --test

verify: $(CHAIN)  ## rebuild what is recorded and compare: make verify [ENGINE=digits-int8-b1]
	@python -m stages.verify $(ENGINE)

new: $(CHAIN)  ## add what lies in models/MODEL to params.yaml: make new MODEL=mine [LIKE=digits]
	@python -m stages.new $(MODEL) $(LIKE)

pins: $(CHAIN)  ## move the pins in params.yaml to what is installed
	@python -m stages.repin

bench: $(RIVALS)  ## speed, as ratios: the chain, large packages, verify, calibration, search, clean-up, promotion
	python -m bench.chain
	python -m bench.hashing
	python -m bench.verifying
	python -m bench.calibration
	python -m bench.searching
	python -m bench.sanitizing
	python -m bench.promotion

bench-quality: $(RIVALS)  ## INT8 of every range method against other tools, on three networks
	python -m bench.quality

fuzz: $(DEV)  ## damaged and hostile models for BUDGET seconds: make fuzz [BUDGET=600] [SEED=1]
	python -m tests.fuzzing --seconds $(BUDGET) $(if $(SEED),--seed $(SEED))

conformance: $(RIVALS)  ## what TensorRT-RTX builds of ONNX's models, by clean-up tool
	python -m bench.conformance

lock:  ## pin requirements/*.txt anew from requirements/*.in
	@sh requirements/lock.sh $(PYTHON)

clean-venv:  ## remove the virtual environment
	rm -rf $(VENV)

$(CHAIN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "enginery is pinned to Python 3.11: make PYTHON=/path/to/python3.11")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --requirement requirements/chain.txt
	touch $@

$(DEV): $(CHAIN)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --requirement requirements/chain.txt --requirement requirements/dev.txt
	$(VENV)/bin/python -m bench.conformance_suite
	touch $@

# An environment of its own: a server has NumPy and the runtimes of packages, and nothing of the chain.
$(SERVING): $(DEV)
	$(VENV)/bin/python -m venv $(VENV)/serving
	$(VENV)/serving/bin/python -m pip install --disable-pip-version-check --no-deps --requirement requirements/serving.txt
	touch $@

$(RIVALS): $(DEV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --requirement requirements/chain.txt --requirement requirements/dev.txt --requirement requirements/rivals.txt
	touch $@
