# Entry points to tests/harness and tests/bench. `make demo KEEP=1` leaves the demo running. `make bench ONLY=B5,B8` runs
# only the named benchmarks. `make histories HOURS=10 SEED=7` plays random histories; `make faults` puts known faults back,
# one at a time, and demands that the histories find each of them.
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
.PHONY: demo test test-release bench histories faults generate book release-dry-run fmt lint

demo: ; @tools=$$(tests/harness/prepare.sh --demo kube-apiserver kubectl helm4 etcd) && TOOLS_DIR=$$tools $(BIN)/imm-harness demo $(if $(KEEP),--keep)
test: ; @tests/harness/prepare.sh && $(BIN)/imm-harness test $(STAGES)
test-release: ; @tests/harness/prepare.sh && $(BIN)/imm-harness test --release $(STAGES)
bench: ; @tests/bench/run.sh $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON)) $(if $(OPERATOR),--operator $(OPERATOR))
histories: ; @HISTORY_SEED=$(or $(SEED),1) HISTORY_MINUTES=$$((60 * $(or $(HOURS),1))) cargo test --locked --profile plans --test crash random_histories -- --nocapture
faults: ; @tests/crash/histories/faults/find.sh $(ONLY)
generate: ; @tests/harness/prepare.sh helm4 && $(BIN)/imm-harness generate --operator $(BIN)/imm-operator
book: ; @cargo xtask test --release book
release-dry-run: ; @tests/harness/prepare.sh helm4 && rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl && $(BIN)/imm-harness release --dry-run
fmt: ; cargo fmt --all
lint: ; cargo clippy --workspace --all-targets --locked -- -D warnings && cargo clippy --test upgrade --locked -- -D warnings
