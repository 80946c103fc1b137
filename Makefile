# The only commands a newcomer needs. Each sets up what it needs: the Rust toolchain, Node, Python,
# Java with Maven and cmake must be there; everything else is fetched into .deps/.

.PHONY: help demo test fuzz bench check fmt generate clean-deps
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## one machine, a real service, a question in SQL (SMOKE=1: check it and end)
	@scripts/demo.sh

test: ## every test, against real services
	scripts/deps.sh
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast

fuzz: ## every parser of strangers' bytes, a minute each (SECONDS_EACH=60)
	fuzz/run.sh

bench: ## side by side with peers
	bench/run.sh

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
