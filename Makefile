# What one does here. `.ci/run` runs the same targets; tools are looked for in PATH, then in its cache.
SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR ?= $(CACHE)/ark-target
export PATH := $(PATH):$(CACHE)/ark-tools/bin:$(CACHE)/ark-tools/venv/bin
FUZZ_SECONDS ?= 20
CHAOS_MINUTES ?= 30
SIM_SECONDS ?= 540
# A program that needs no file of the machine that it runs on. Build scripts and macros stay as they are: flags of a named target are not theirs.
STATIC_TARGET ?= $(shell uname -m)-unknown-linux-gnu
STATIC ?= $(CARGO_TARGET_DIR)/ark-static
STATIC_FLAGS = CARGO_TARGET_$(shell echo $(STATIC_TARGET) | tr a-z- A-Z_)_RUSTFLAGS="-C target-feature=+crt-static"

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: ## Back up, break, restore and prune a throwaway cluster; DEMO_KUBECONFIG=… uses yours
	tests/demo.sh

.PHONY: test
test: cluster-tools ## Every test, against real servers
	@if cargo nextest --version >/dev/null 2>&1; then \
		echo "cargo nextest run --workspace"; cargo nextest run --workspace --no-fail-fast; \
	else \
		echo "cargo test --workspace"; cargo test --workspace --no-fail-fast --lib --bins --tests; \
	fi
	cargo test --workspace --doc

.PHONY: simulate
simulate: ## Run the engine on a simulated network for SIM_SECONDS, a row of seeds on each core
	@cargo nextest run --workspace --no-run --cargo-quiet 2>/dev/null || cargo nextest run --workspace --no-run
	@rows=(); for core in $$(seq 0 $$(($$(nproc) - 1))); do \
		ARK_SIM_FIRST=$$((core * 100000 + 1)) ARK_SIM_SECONDS=$(SIM_SECONDS) cargo nextest run --workspace --test engine \
			-E 'test(=sim::many_seeds)' --success-output final --cargo-quiet & rows+=($$!); \
	done; for row in "$${rows[@]}"; do wait "$$row" || exit 1; done

.PHONY: chaos
chaos: cluster-tools ## Kill and disturb ark at random for CHAOS_MINUTES; CHAOS_ARGS='--seed 7'
	cargo build --workspace --bins
	$(CARGO_TARGET_DIR)/debug/ark-testkit chaos --ark $(CARGO_TARGET_DIR)/debug/ark --minutes $(CHAOS_MINUTES) $(CHAOS_ARGS)

.PHONY: cluster-tools
cluster-tools: ## Build the servers that the tests run against, once
	tests/cluster/build.sh

.PHONY: static
static: ## Build ark as one static program; STATIC=… is where
	$(STATIC_FLAGS) cargo build --locked --release --bin ark --target $(STATIC_TARGET)
	@mkdir -p "$(dir $(STATIC))" && cp "$(CARGO_TARGET_DIR)/$(STATIC_TARGET)/release/ark" "$(STATIC)"
	@ldd "$(STATIC)" 2>&1 | grep -E 'statically linked|not a dynamic executable' || { echo "$(STATIC) is not static" >&2; exit 1; }

.PHONY: image
image: ## Pack ark into an OCI archive; IMAGE=… names it, ARK=… is another program than the release
	@[ -n "$(ARK)" ] || cargo build --release --bin ark
	@cargo build --quiet --workspace --bin ark-testkit
	@$(CARGO_TARGET_DIR)/debug/ark-testkit image --name "$(or $(IMAGE),localhost/ark:dev)" \
		--program "$(or $(ARK),$(CARGO_TARGET_DIR)/release/ark)" $(CARGO_TARGET_DIR)/ark-image.tar

.PHONY: lint
lint: ## Formatting, clippy, dependencies
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check bans licenses sources

.PHONY: docs
docs: ## The book, into docs/book
	mdbook build docs

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZ_SECONDS
	tests/fuzz.sh $(FUZZ_SECONDS)
