# Everything runs as root on Debian 12 or later with nothing prepared: `make demo`, `make test`. `make help` lists it all.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PROFILE ?= embedded
MECH ?= ovs
L3_AGENT ?= 0
# What instances of labs, demonstration and e2e run in: namespace, container or microvm. All but the first need the image, and
# a lab that has it offers all three. NETWORK_BODY: what serves DHCP, DNS and metadata, if it shall be something else.
export BODY ?= namespace
IMAGE := build/image/manifest.json
ifneq ($(BODY),namespace)
export ASTARA_IMAGE ?= $(abspath build/image)
WITH_BODY := install-bodies $(IMAGE)
endif
# For one test or a few: make unit ARGS='-k lease -x'
ARGS ?=

# Kernel tests make links, addresses and rules: they get a machine of their own, which goes with them.
ISOLATED := tests/isolated
# The embedded cloud, started for one command and taken down after it, however that ends.
IN_LAB = $(BIN)/astara lab run --dir .lab/test-$$$$ --
IN_NEUTRON_LAB = API_PROCESSES=2 MECH=$(MECH) $(BIN)/astara lab run --profile neutron --dir .lab/test-$$$$ --
PYTEST = $(BIN)/python -m pytest -p support.tally $(ARGS)
# Two at a time, each on a machine of its own: much is waiting. Tests of one file share what is slow to start, and stay together.
WORKERS ?= 2
SPREAD = --dist loadfile --no-loadscope-reorder --tx '$(WORKERS)*popen//python=$(ISOLATED) $(BIN)/python'

.PHONY: help image image-twice machines demo demo-down test lint unit kernel cluster coordinators bodies e2e e2e-neutron test-cloud lab lab-down storm chaos chaos-seeds bench bench-resync bench-nova install \
	install-neutron install-bodies install-cloud need-root clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

demo: need-root install $(WITH_BODY) ## a small cloud, routers, machines, packets and accidents: BODY=namespace|container|microvm; HA=1: a router that is a pair on two nodes
	@$(BIN)/python -m astara_lab.demo

demo-down: ## end the demonstration; leaves nothing
	@if [ -x $(BIN)/astara ]; then $(BIN)/astara lab down --dir .lab/demo --purge; fi

test: need-root install install-neutron ## every check and every test, on real Neutrons and with real packets: WORKERS=2
	@$(MAKE) --no-print-directory lint
	@mkdir -p .lab && rm -f .lab/tally
	@failed=0; \
	export PYTHONPATH=tests; tally='--tally-from .lab/tally --tally-to .lab/tally'; \
	$(PYTEST) $$tally $(SPREAD) tests/contract tests/kernel tests/scenario tests/unit || failed=1; \
	$(IN_LAB) $(PYTEST) $$tally tests/e2e || failed=1; \
	rm -f .lab/tally; rmdir .lab 2>/dev/null; exit $$failed

lint: install ## style, types, and which room may import which
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit: install ## the tests that need no kernel and no root
	@PYTHONPATH=tests $(PYTEST) tests/unit tests/contract tests/scenario

kernel: need-root install ## real nftables, routes and daemons, in a network namespace of their own
	@PYTHONPATH=tests $(ISOLATED) $(PYTEST) tests/kernel

bodies: need-root install install-bodies ## every promise of a router in a container, FRR in one, what fails there, a hundred lives and deaths
	@PYTHONPATH=tests $(ISOLATED) $(PYTEST) -m "slow or not slow" $(if $(ARGS),,-k 'container or frr or management') tests/kernel

machines: need-root install install-bodies $(IMAGE) ## real machines of the appliance's image, by QEMU
	@PYTHONPATH=tests $(ISOLATED) $(PYTEST) tests/machines

e2e: need-root install $(WITH_BODY) ## real Neutron, real instances, real packets, in a lab that is taken down afterwards: BODY=
	@PYTHONPATH=tests $(IN_LAB) $(PYTEST) tests/e2e

cluster: need-root install ## three orchestrators sharing the work, killed, frozen, sent away under changes; a node that dies for good and comes back
	@ORCHESTRATORS=3 NODES=2 NODE_PATIENCE=8 PYTHONPATH=tests $(IN_LAB) $(PYTEST) tests/e2e_cluster

coordinators: need-root install $(STAMPS)/debian-coordinators ## the contract of groups on etcd, Redis, ZooKeeper (brings a Java), MariaDB and SQLite
	@PYTHONPATH=tests $(ISOLATED) $(PYTEST) -m "slow or not slow" tests/contract/test_cluster.py

e2e-neutron: need-root install install-neutron $(WITH_BODY) ## the core of them on RabbitMQ, MariaDB and MECH=ovs|ovn
	@PYTHONPATH=tests $(IN_NEUTRON_LAB) $(PYTEST) tests/e2e_neutron

test-cloud: need-root install-cloud $(IMAGE) ## a whole OpenStack: real machines, Nova's metadata, and routers that are Nova machines
	@PYTHONPATH=tests ASTARA_IMAGE=$(abspath build/image) $(BIN)/astara lab run --profile cloud --dir .lab/test-$$$$ -- $(PYTEST) tests/e2e_cloud

lab: need-root install $(addprefix install-,$(filter neutron cloud,$(PROFILE))) $(WITH_BODY) ## a cloud to play with: PROFILE=embedded|neutron|cloud MECH=ovs|ovn L3_AGENT=0|1 ORCHESTRATORS=1 NODES=1|2 BODY=
	@MECH=$(MECH) L3_AGENT=$(L3_AGENT) $(BIN)/astara lab up --profile $(PROFILE)

lab-down: ## end the labs of all profiles and delete their files
	@if [ -x $(BIN)/astara ]; then for profile in embedded neutron cloud cluster; do $(BIN)/astara lab down --profile $$profile --purge; done; fi

# CUSTOM="folder folder": further packages, files and subsystems; docs/howto/build-an-image.md
CUSTOM ?=
image: need-root install $(STAMPS)/debian-image ## the appliance's image into build/image, for machines and containers: CUSTOM=
	@$(BIN)/python image/build.py $(foreach folder,$(CUSTOM),--custom $(folder))

# For those who need any image of this tree: built when there is none, or one of other sources.
$(IMAGE): $(shell find image src/astara -type f -not -name '*.pyc') requirements.lock pyproject.toml | install $(STAMPS)/debian-image
	@$(BIN)/python image/build.py && touch $@

image-twice: need-root install $(STAMPS)/debian-image ## whether two images of the same inputs are the same, byte for byte
	@for one in a b; do $(BIN)/python image/build.py --out build/twice/$$one/image --kept build/twice/$$one/debian || exit 1; done; \
	diff -r build/twice/a/image build/twice/b/image && rm -r build/twice && echo "the same, byte for byte"

# One seed is the same weather again. PYTHONPATH: the storm lives beside the tests.
SECONDS ?= 120
SEED ?=
storm: need-root install $(if $(filter neutron,$(PROFILE)),install-neutron) ## kill everything at random under changes: PROFILE= SECONDS=120 SEED=
	@MECH=$(MECH) PYTHONPATH=tests $(BIN)/astara lab run --profile $(PROFILE) --dir .lab/storm-$$$$ -- \
		$(abspath $(BIN))/python -m storm --seconds $(SECONDS) --seed "$(SEED)" $(ARGS)

# Once a run at least, in an order drawn from the seed: every kind of fault of every part. docs/howto/chaos.md
DURATION ?= 300
IN_CLUSTER_LAB = ORCHESTRATORS=3 PYTHONPATH=tests $(BIN)/astara lab run --profile cluster --dir .lab/chaos-$$$$ --
chaos: need-root install install-neutron ## the failure matrix: every part fails in every way, under changes and packets; laws judge it: DURATION=300 SEED=
	@$(IN_CLUSTER_LAB) \
		$(abspath $(BIN))/python -m chaos --seconds $(DURATION) --seed "$(SEED)" $(ARGS)

chaos-seeds: need-root install install-neutron ## seeds of it that once broke a law
	@$(IN_CLUSTER_LAB) $(PYTEST) tests/e2e_chaos

bench: need-root install install-neutron ## the measurements of docs/benchmarks.md
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-resync: need-root install ## how long new work waits while 1000 routers are looked at again: ARGS='--routers 1000'
	@PYTHONPATH=tests $(ISOLATED) $(BIN)/python benchmarks/resync.py $(ARGS)

bench-nova: need-root install-cloud $(IMAGE) ## routers that are Nova machines, cold and out of the pool, beside Nova's own time
	@ASTARA_IMAGE=$(abspath build/image) $(BIN)/astara lab run --profile cloud --dir .lab/bench-$$$$ -- \
		$(abspath $(BIN))/python benchmarks/nova.py $(ARGS)

clean: demo-down lab-down ## end every lab and delete what was installed here
	@rm -rf $(VENV) .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

need-root:
	@test "$$(id -u)" = 0 || { echo "this makes network namespaces: run it as root (sudo make ...)" >&2; exit 1; }

# -- installation: stamps say what is done

install: $(STAMPS)/lab

install-neutron: $(STAMPS)/debian-neutron

install-bodies: $(STAMPS)/debian-bodies

# Keystone, Glance, Placement and Nova choose their own libraries. libvirt's binding is Debian's, which fits Debian's libvirt.
install-cloud: install install-neutron $(STAMPS)/cloud

$(STAMPS)/debian: requirements/debian.txt requirements/install-debian
	@requirements/install-debian requirements/debian.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/debian-neutron: requirements/debian-neutron.txt requirements/install-debian $(STAMPS)/debian
	@requirements/install-debian requirements/debian-neutron.txt
	@touch $@

$(STAMPS)/debian-bodies: requirements/debian-bodies.txt requirements/install-debian $(STAMPS)/debian
	@requirements/install-debian requirements/debian-bodies.txt
	@touch $@

$(STAMPS)/debian-coordinators: requirements/debian-coordinators.txt requirements/install-debian $(STAMPS)/debian-neutron
	@requirements/install-debian requirements/debian-coordinators.txt
	@touch $@

$(STAMPS)/debian-image: requirements/debian-image.txt requirements/install-debian $(STAMPS)/debian
	@requirements/install-debian requirements/debian-image.txt
	@touch $@

$(STAMPS)/debian-cloud: requirements/debian-cloud.txt requirements/install-debian $(STAMPS)/debian-neutron
	@requirements/install-debian requirements/debian-cloud.txt
	@mkdir -p /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
	@touch $@

$(STAMPS)/cloud: requirements-cloud.lock $(STAMPS)/debian-cloud $(STAMPS)/python
	@echo "installing Keystone, Glance, Placement and Nova into $(VENV)/cloud (a minute or two)"
	@test -x $(VENV)/cloud/bin/pip || python3 -m venv $(VENV)/cloud
	@$(VENV)/cloud/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-cloud.lock
	@for file in /usr/lib/python3/dist-packages/libvirt*.py /usr/lib/python3/dist-packages/libvirtmod*.so; do \
		ln -sf "$$file" $(VENV)/cloud/lib/python3*/site-packages/; done
	@$(VENV)/cloud/bin/python -c 'import libvirt' || { \
		echo "$$(python3 --version) cannot load Debian's python3-libvirt: use Debian's python3" >&2; exit 1; }
	@touch $@

$(STAMPS)/python: requirements-lab.lock $(STAMPS)/debian
	@echo "installing Python packages into $(VENV) (some 160, a minute or two)"
	@test -x $(BIN)/pip || python3 -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-lab.lock
	@touch $@

$(STAMPS)/astara: pyproject.toml $(STAMPS)/python
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(STAMPS)/lab: $(STAMPS)/astara
	@$(BIN)/astara lab prepare >/dev/null
	@touch $@
