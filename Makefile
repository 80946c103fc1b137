# The only commands a newcomer needs. Each sets up what it needs: the Rust toolchain, Node, Python, Go,
# a JDK with Maven and cmake must be there; everything else is fetched into .deps/.

.PHONY: help demo test test-traffic fuzz chaos bench bench-redact bench-match check fmt generate clean-deps
.DEFAULT_GOAL := help

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
	SIDELOG_MUTATIONS=$${SIDELOG_MUTATIONS:-5000} \
		cargo test -p sidelog-tests --test garden -- --nocapture

fuzz: ## every parser of strangers' bytes, a minute each (SECONDS_EACH=60)
	fuzz/run.sh

chaos: ## faults under load, at length: SIGKILL, bad disks, Kafka or ClickHouse away; a seeded simulation
	scripts/deps.sh engine kafka
	cargo build -p sidelog -p sidelog-consumer -p sidelog-standalone --bins
	SIDELOG_KILLS=$${SIDELOG_KILLS:-1000} SIDELOG_OUTAGE_SECONDS=$${SIDELOG_OUTAGE_SECONDS:-10} \
	SIDELOG_CONSUMER_KILLS=$${SIDELOG_CONSUMER_KILLS:-100} \
	SIDELOG_REBALANCE_SECONDS=$${SIDELOG_REBALANCE_SECONDS:-180} \
		cargo test -p sidelog-tests --test chaos -- --nocapture --test-threads=1
	SIDELOG_ENGINE_KILLS=$${SIDELOG_ENGINE_KILLS:-30} \
		cargo test -p sidelog-standalone --test consumer killing -- --nocapture
	SIDELOG_SEEDS=$${SIDELOG_SEEDS:-100000} \
		cargo test --release -p sidelog-journal --test journal simulate -- --nocapture

bench: bench-match bench-redact ## side by side with peers
	bench/run.sh

bench-match: ## finding operations, beside two routers
	cargo run --quiet --release -p sidelog-bench --bin match

bench-redact: ## redaction of JSON, beside serde_json
	cargo run --quiet --release -p sidelog-bench --bin redact

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
