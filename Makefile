# The only commands a newcomer needs. Each sets up what it needs: the Rust toolchain, Node, Python, Go,
# a JDK with Maven and cmake must be there; everything else is fetched into .deps/.
#
# All but the journal's simulation, which needs little, build with `--workspace`: with one set of features, so that
# what others need is compiled once.

.PHONY: help demo test test-traffic fuzz chaos stress bench bench-proxy bench-call bench-check bench-docs bench-redact bench-match bench-journal bench-consumer bench-store check fmt generate clean-deps
.DEFAULT_GOAL := help

# `cargo run` takes no `--workspace`. The programs are told where the project is, as cargo would.
TARGET = $(or $(CARGO_TARGET_DIR),target)
run = cargo build --quiet $(2) --workspace --bin $(1) && \
	CARGO_MANIFEST_DIR=$(abspath bench) $(TARGET)/$(if $(2),release,debug)/$(1)

help: ## this list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## one machine, a real service, a question in SQL (SMOKE=1: check it and end)
	@scripts/demo.sh

test: ## every test, against real services
	scripts/deps.sh
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast

test-traffic: ## what passes and what does not: the wire and the security cases
	scripts/deps.sh engine kafka garden
	cargo build --workspace --bins
	cargo test --workspace --test wire --test security
	SIDELOG_MUTATIONS=$${SIDELOG_MUTATIONS:-5000} SIDELOG_SHAPES=$${SIDELOG_SHAPES:-all} \
		cargo test --workspace --test garden -- --nocapture

fuzz: ## every parser of strangers' bytes, a minute each (SECONDS_EACH=60)
	fuzz/run.sh

chaos: ## faults under load, at length: SIGKILL, bad disks, Kafka or ClickHouse away; a seeded simulation
	scripts/deps.sh engine kafka
	cargo build --workspace --bins
	SIDELOG_KILLS=$${SIDELOG_KILLS:-1000} SIDELOG_OUTAGE_SECONDS=$${SIDELOG_OUTAGE_SECONDS:-10} \
	SIDELOG_CONSUMER_KILLS=$${SIDELOG_CONSUMER_KILLS:-100} \
	SIDELOG_REBALANCE_SECONDS=$${SIDELOG_REBALANCE_SECONDS:-180} SIDELOG_HALTS=$${SIDELOG_HALTS:-20} \
		cargo test --workspace --test chaos -- --nocapture --test-threads=1
	SIDELOG_ENGINE_KILLS=$${SIDELOG_ENGINE_KILLS:-30} \
		cargo test --workspace --test consumer killing -- --nocapture
	SIDELOG_SEEDS=$${SIDELOG_SEEDS:-100000} \
		cargo test --release -p sidelog-journal --test journal simulate -- --nocapture

stress: ## heavy load, at length: aborts, restarts, gigabytes, idle connections, slow attacks, h2spec
	cargo build --release --workspace --bin sidelog
	SIDELOG_BINARY=$(abspath $(or $(CARGO_TARGET_DIR),target))/release/sidelog \
	SIDELOG_CALLS=$${SIDELOG_CALLS:-10000} SIDELOG_TERMS=$${SIDELOG_TERMS:-50} \
	SIDELOG_MIB=$${SIDELOG_MIB:-1024} SIDELOG_IDLE=$${SIDELOG_IDLE:-10000} \
		cargo test --workspace --test stress -- --nocapture --test-threads=1
	SIDELOG_BINARY=$(abspath $(or $(CARGO_TARGET_DIR),target))/release/sidelog bench/attacks.sh
	SIDELOG_BINARY=$(abspath $(or $(CARGO_TARGET_DIR),target))/release/sidelog scripts/h2spec.sh

bench: bench-match bench-redact bench-call bench-journal bench-proxy ## side by side with peers

bench-proxy: ## the sidecar beside nginx, haproxy, Envoy, pingora (ROUNDS=5 DURATION=5 PARTS= SUBJECTS=)
	bench/run.sh

bench-call: ## auditing one call without sockets: CPU, allocations, instructions
	$(call run,bench-call,--release)

bench-check: ## the cost of one call against the committed figures, in a build without optimisation: for CI
	$(call run,bench-call) --check

bench-docs: ## docs/benchmarks.md from the last `make bench-proxy`
	$(call run,bench-proxy,--release) --docs docs/benchmarks.md

bench-journal: ## what an event costs, and what `written` and `strict` add to a call (RATE=500 ROUNDS=5)
	scripts/deps.sh kafka
	cargo build --quiet --release --workspace --bin sidelog
	cargo build --quiet --release --workspace --example bench && $(TARGET)/release/examples/bench
	$(call run,levels,--release)

bench-match: ## finding operations, beside two routers
	$(call run,match,--release)

bench-redact: ## redaction of JSON, beside serde_json
	$(call run,redact,--release)

# `PROFILE=dev` tries them out; its figures mean nothing.
bench-consumer: PROFILE ?= release
bench-consumer: ## Kafka to ClickHouse, beside ClickHouse's Kafka engine (EVENTS=1000000 PARTITIONS=4 ROUNDS=3)
	scripts/deps.sh engine kafka
	cargo build --profile $(PROFILE) --workspace --bin sidelog-consumer --bin sidelog-standalone --bin bench-consumer
	$${CARGO_TARGET_DIR:-target}/$(subst dev,debug,$(PROFILE))/bench-consumer

bench-store: PROFILE ?= release
bench-store: ## bytes on disk and the time of 22 questions (ROWS=8000000)
	scripts/deps.sh engine
	cargo build --profile $(PROFILE) --workspace --bin sidelog-standalone --bin bench-store
	$${CARGO_TARGET_DIR:-target}/$(subst dev,debug,$(PROFILE))/bench-store

check: ## formatter, lints, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/generate.sh --check

fmt: ## format the sources
	cargo fmt --all

generate: ## write the generated files anew
	scripts/generate.sh

clean-deps: ## remove what was fetched
	rm -rf .deps .demo
