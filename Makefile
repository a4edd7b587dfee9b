# The work is done by tests/harness; these are the names for it. `make demo KEEP=1` leaves the demo running.
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
.PHONY: demo test generate fmt lint

demo: ; @tests/harness/prepare.sh etcd kube-apiserver kubectl helm4 && $(BIN)/imm-harness demo $(if $(KEEP),--keep)
test: ; @tests/harness/prepare.sh && $(BIN)/imm-harness test $(STAGES)
generate: ; @tests/harness/prepare.sh helm4 && $(BIN)/imm-harness generate --operator $(BIN)/imm-operator
fmt: ; cargo fmt --all
lint: ; cargo clippy --workspace --all-targets --locked -- -D warnings
