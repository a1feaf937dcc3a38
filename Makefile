# The one menu. Every target sets up what it needs; nothing has to be prepared.
PYTHON ?= python3
VENV   ?= .venv
TOOLS  ?= $(VENV)-tools
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
MODEL  ?= everyday
GPU_PYTHON ?= $(PYTHON)
RUN    ?= pictograms

# onnxruntime reports its use to its maker otherwise: our packages say the same, benchmarks load it without them.
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help serve serve-hub test test-long fuzz kills rollouts conformance api-conformance surface check format training try-refresh train data evaluate export import bench bench-store bench-search bench-text bench-rollout bench-replicas bench-training gpu-check soak constraints generated js-client wheels clean
.PHONY: image image-rootless check-containers lock sbom audit

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Floors of installation, so that serving never waits for torch.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("diptych needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-server: $(VENV)/bin/python constraints.txt server/pyproject.toml clients/python/pyproject.toml
	$(PIP) install -q -c constraints.txt -e clients/python -e 'server[cpu]'
	@touch $@

$(VENV)/.installed-training: $(VENV)/.installed-server training/pyproject.toml
	$(PIP) install -q -c constraints.txt -e clients/python -e server -e training
	@touch $@

$(VENV)/.installed-import: $(VENV)/.installed-training
	$(PIP) install -q -c constraints.txt -e clients/python -e server -e 'training[import]'
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.installed-import tests/requirements.txt
	$(PIP) install -q -c constraints.txt -r tests/requirements.txt
	@touch $@

serve: $(VENV)/.installed-server ## install, then serve the default model with its gallery on http://127.0.0.1:8000
	$(BIN)/diptych serve --model $(MODEL) --gallery server/gallery

# A process for each core, so one thread for each: more would only wait for each other. Compiled modules are
# kept, since tests start hundreds of Pythons. Files in their own order end with small ones, all cores busy;
# xdist's order, by the number of tests, ends with those of few and long ones.
test: $(VENV)/.installed-tests chromium strace nginx nodejs npm postgresql ## all tests but the long ones
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m 'not long' \
	  -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: export DIPTYCH_TOOLS := $(abspath $(TOOLS))
test-long: $(TOOLS)/.installed container-tools test ## the long tests too, but for the campaigns
	$(BIN)/python -m pytest -m 'long and not kills and not rollouts and not conformance and not api_conformance'

kills: $(VENV)/.installed-tests strace postgresql ## campaign: the server killed at every point and at 200 random moments, backups killed at every step
	$(BIN)/python -m pytest -m kills

rollouts: $(VENV)/.installed-tests ## campaign: versions that change under 64 clients and 50,000 requests, and under kills
	$(BIN)/python -m pytest -m rollouts

conformance: $(VENV)/.installed-tests ## campaign: every kind of checkpoint that can be imported, against its own library
	$(BIN)/python -m pytest -m conformance

api-conformance: $(VENV)/.installed-tests ## campaign: requests that schemathesis makes of the description of the API, with all checks (10 minutes; EXAMPLES=1000 for more)
	API_EXAMPLES='$(or $(EXAMPLES),100)' $(BIN)/python -m pytest -m api_conformance

surface: $(VENV)/.installed-tests ## show that what users rely on is as in another checkout: make surface AGAINST=../other (SURFACE=--deep: rows, runs and data folders too, some minutes)
	PYTHONPATH=tests $(BIN)/python -m support.surface --against '$(or $(AGAINST),$(error say which checkout: AGAINST=../other))' $(SURFACE)

check: $(VENV)/.installed-tests ## static: format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-tests ## format and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

training: $(VENV)/.installed-training ## install diptych-train next to the server (torch is several gigabytes; once)

data: $(VENV)/.installed-training ## build the pictograms data set (280 MB of packages, a few minutes)
	$(BIN)/diptych-train data pictograms

# Pictures and runs stay in the cache; the version goes to model_repo/, where git ignores it.
TRY_PICTURES = $(or $(DIPTYCH_CACHE),$(HOME)/.cache/diptych)/try-refresh
try-refresh: $(VENV)/.installed-training ## draw twenty pictures, teach them to the default model, and show three searches before and after (a quarter of an hour on two cores)
	$(BIN)/python -m diptych_training.refresh.example --out '$(TRY_PICTURES)' --pictures 20
	$(BIN)/diptych-train refresh '$(TRY_PICTURES)' --name try-refresh $(FLAGS)

train: data ## train the model pictograms from scratch by its recipe (two and a half hours on two cores)
	$(BIN)/diptych-train train pictograms

evaluate: $(VENV)/.installed-training ## measure a run zero-shot and by retrieval: make evaluate RUN=pictograms
	$(BIN)/diptych-train evaluate --run '$(RUN)'

export: $(VENV)/.installed-training ## publish a run as the next version of a model: make export RUN=pictograms NAME=mine (in the precisions of the version before; FLAGS='--precisions fp32,int8' names others)
	$(BIN)/diptych-train export --run '$(RUN)' --name '$(or $(NAME),$(error say which model it becomes: NAME=mine))' $(FLAGS)

# What import and serve-hub need, asked for before gigabytes are installed.
SOURCE_IS = which checkpoint: SOURCE=laion/CLIP-ViT-B-32-laion2B-s34B-b79K
NAME_IS   = what the model is called here: NAME=clip
given-%:
	$(if $($*),,$(error say $($*_IS)))@:

import: given-SOURCE given-NAME $(VENV)/.installed-import ## bring your own checkpoint: make import SOURCE=laion/CLIP-ViT-B-32-laion2B-s34B-b79K NAME=clip (FLAGS='--precisions fp32,int8': flags of diptych-train import)
	$(BIN)/diptych-train import '$(SOURCE)' --name '$(NAME)' $(FLAGS)

serve-hub: given-SOURCE given-NAME $(VENV)/.installed-import ## import a checkpoint of a hub, prove it and serve it: make serve-hub SOURCE=laion/CLIP-ViT-B-32-laion2B-s34B-b79K NAME=clip (others: .venv/bin/diptych models suggest)
	$(BIN)/diptych-train import '$(SOURCE)' --name '$(NAME)' --serve $(FLAGS)

bench: $(VENV)/.installed-tests ## measure serving and compare with infinity and onnxruntime alone, on Linux (five minutes a round; BENCH='--beside ../other' compares with another checkout, 15 minutes; BENCH='--write docs/benchmarks.md' keeps it)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.serving $(BENCH)

bench-store: $(VENV)/.installed-tests ## measure what it costs to keep images and rows, up to a million (15 minutes, 4 GB of disk; STORE=--quick: 1)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.store $(STORE)

bench-search: $(VENV)/.installed-tests pgvector ## measure searches of 10,000 and 100,000 images, by words too, in turns with FAISS, hnswlib, usearch and pgvector (20 minutes; SEARCH=--million: a million as well, 45 minutes, 10 GB of disk; SEARCH=--quick: 3)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.search $(SEARCH)

bench-text: $(VENV)/.installed-tests ## measure searches for words in a million rows, and what indexing words costs (10 minutes, 3 GB of disk; TEXT=--quick: half a minute)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.search_text $(TEXT)

bench-rollout: $(VENV)/.installed-tests ## measure requests while 100,000 images roll over to another version (half an hour, 1 GB of disk; ROLLOUT=--quick: 3 minutes)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.rollout $(ROLLOUT)

bench-replicas: $(VENV)/.installed-tests postgresql ## measure PostgreSQL beside SQLite, and one, two and three servers on one database (15 minutes, 3 GB of disk; REPLICAS=--quick: 2)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.replicas $(REPLICAS)

bench-training: $(VENV)/.installed-tests ## measure training and compare with open_clip, in an environment of its own (20 minutes; TRAINING=--quick: 2)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.training $(TRAINING)

gpu-check: ## prove and measure what this machine's GPU can run, in one table, with what GPU_PYTHON has installed (within an hour; GPU=--quick is shorter)
	PYTHONPATH=tests $(GPU_PYTHON) -m benchmarks.gpu_check $(GPU)

soak: $(VENV)/.installed-tests ## twenty minutes of full load with hostile requests among the good ones (SOAK='--minutes 10' for less)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.soak $(SOAK)

fuzz: $(VENV)/.installed-tests ## decode 100,000 damaged files together with good ones (half an hour; FUZZ='--n 2000' to try it)
	PYTHONPATH=tests $(BIN)/python -m support.hostile.fuzzing $(FUZZ)

$(TOOLS)/.installed: docker/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q -r docker/tools.txt
	@touch $@

image: ## build the server's image with Docker: make image TARGET=gpu; the training's: make image TARGET=training
	docker build -f docker/$(if $(filter training,$(TARGET)),training,server).Dockerfile $(if $(filter training,$(TARGET)),,--target $(or $(TARGET),cpu)) \
	  --build-arg REVISION=$$(git rev-parse HEAD) -t diptych-$(if $(filter training,$(TARGET)),training,server:$(or $(TARGET),cpu)) .

image-rootless: $(VENV)/.installed-tests rootless-tools ## carry out the cpu image's steps without Docker, and run the server from them (as root on Debian; 4 minutes)
	PYTHONPATH=tests $(BIN)/python -m deployment.rootless $(ROOTLESS)

check-containers: $(VENV)/.installed-tests $(TOOLS)/.installed container-tools ## compose files, Dockerfiles, manifests, alert rules, and the dashboard on a real Prometheus
	DIPTYCH_TOOLS='$(abspath $(TOOLS))' $(BIN)/python -m pytest tests/deployment tests/architecture/test_container_files.py tests/architecture/test_observability_files.py

lock: $(TOOLS)/.installed ## refresh what the images of the server install: releases of constraints.txt, by hash
	docker/lock.sh $(TOOLS)/bin

sbom: $(TOOLS)/.installed ## write dist/: the bill of materials (CycloneDX) and the licences of what the cpu image installs
	docker/sbom.sh $(TOOLS)/bin $(PYTHON)

audit: $(TOOLS)/.installed ## ask for known vulnerabilities of what the images install (needs the network)
	docker/audit.sh $(TOOLS)/bin

constraints: ## refresh constraints.txt from the newest releases that the ranges admit
	rm -rf $(VENV)-constraints && $(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install -q --upgrade setuptools -e clients/python -e 'server[cpu]' -e 'training[import,parquet,remote]' -r tests/requirements.txt
	$(VENV)-constraints/bin/python -m pip freeze --all --exclude-editable | tests/support/constraints.sh > constraints.txt
	rm -rf $(VENV)-constraints

generated: $(VENV)/.installed-tests ## write what is made from the code: server/openapi.json, the JavaScript client's types and compiled modules, tests/data/surface.json (needs npm)
	$(BIN)/python -m diptych.http.openapi server/openapi.json
	$(MAKE) js-client
	PYTHONPATH=tests $(BIN)/python -m support.surface --write

js-client: clients/js/node_modules/.package-lock.json ## refresh what is made from clients/js and server/openapi.json: types, and the modules of the page (needs npm)
	cd clients/js && npm run --silent refresh

clients/js/node_modules/.package-lock.json: clients/js/package-lock.json
	@command -v npm >/dev/null || { echo 'the JavaScript client is built with npm: install Node 20 or newer with npm' >&2; exit 1; }
	npm ci --silent --prefix clients/js
	@touch $@

wheels: $(VENV)/bin/python ## build dist/*.whl: the client, the server, training, and the default model with its gallery
	rm -f dist/*.whl
	$(PIP) wheel -q --no-deps -w dist ./clients/python ./server ./training ./server/everyday

chromium:
	@[ -n "$$DIPTYCH_NO_BROWSER" ] || command -v chromium >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || { \
	  echo 'the browser tests need chromium: install it, or set DIPTYCH_NO_BROWSER=1 to leave them out' >&2; exit 1; }
.PHONY: chromium

strace:
	@command -v strace >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq strace >/dev/null; } || { \
	  echo 'the tests of durability read the order of system calls: install strace' >&2; exit 1; }
.PHONY: strace

nginx:
	@command -v nginx >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light >/dev/null; } || \
	  echo 'tests behind a reverse proxy are left out: they need nginx' >&2
.PHONY: nginx

nodejs:
	@command -v node >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs >/dev/null; } || \
	  echo 'tests of the JavaScript client are left out: they need node' >&2
.PHONY: nodejs

npm:
	@command -v npm >/dev/null || echo 'tests of clients from npm are left out: they need npm' >&2
.PHONY: npm

postgresql:
	@ls /usr/lib/postgresql/1[6-9]/bin/initdb >/dev/null 2>&1 || initdb --version 2>/dev/null | grep -Eq '\) (1[6-9]|[2-9][0-9])' || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql-17 >/dev/null; } || \
	  echo 'tests with PostgreSQL are left out: they need PostgreSQL 16 or newer' >&2
.PHONY: postgresql

pgvector:
	@ls /usr/share/postgresql/*/extension/vector.control >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql-17-pgvector >/dev/null; } || \
	  echo 'pgvector is left out: it needs PostgreSQL with its extension' >&2
.PHONY: pgvector

container-tools:
	@command -v docker-compose >/dev/null && command -v promtool >/dev/null && command -v prometheus >/dev/null && command -v kustomize >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq docker-compose prometheus kustomize >/dev/null; } || { \
	  echo 'the checks of containers need docker-compose, prometheus, promtool and kustomize: install them' >&2; exit 1; }
.PHONY: container-tools

rootless-tools:
	@command -v buildah >/dev/null && command -v debootstrap >/dev/null && [ -x /usr/lib/podman/netavark ] || { \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq buildah debootstrap netavark >/dev/null; } || { \
	  echo 'an image without Docker needs buildah, debootstrap and netavark: install them' >&2; exit 1; }
.PHONY: rootless-tools

clean: ## remove the virtual environment and caches of the tools
	rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis clients/js/node_modules clients/js/dist
