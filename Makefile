# Entry points to tests/harness and tests/bench. `make demo KEEP=1` leaves the demo running; `make demo CLUSTER=current` uses
# the cluster of the current context, with CONTEXT=name if its name is not that of a local one; REMOVE=mark removes there what
# a demo left. `make bench ONLY=B5,B8` runs only the named benchmarks. `make histories HOURS=10 SEED=7` plays random
# histories; `make faults` puts known faults back, one at a time, and demands that the histories find each of them.
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
# Only what is typed after `make` counts, because a variable of the shell is no confirmation.
TYPED = $(if $(filter command,$(origin $(1))),$($(1)))
DEMO_CHECK = $(if $(filter-out current,$(call TYPED,CLUSTER)),$(error CLUSTER=$(CLUSTER) is unknown: leave it out, or \
  use CLUSTER=current))$(if $(call TYPED,CONTEXT),$(if $(call TYPED,CLUSTER),,$(error CONTEXT is for CLUSTER=current: add it)))\
  $(if $(call TYPED,REMOVE),$(if $(call TYPED,CLUSTER),,$(error REMOVE is for CLUSTER=current: add it)))
DEMO_CONTEXT = $(if $(call TYPED,CONTEXT),"$$CONTEXT")
DEMO_TOOLS = $(if $(DEMO_CLUSTER),kubectl helm4,kube-apiserver kubectl helm4 etcd)
DEMO_CLUSTER = $(if $(call TYPED,CLUSTER),--cluster current $(addprefix --context ,$(DEMO_CONTEXT)) \
  $(if $(call TYPED,REMOVE),--remove "$$REMOVE"))
# The tests start thousands of short Go programs, which would spend a quarter of their time on collecting garbage.
test test-release: export GOGC := $(or $(GOGC),400)
.PHONY: demo test test-release bench histories faults generate book release-dry-run fmt lint

demo: ; @$(DEMO_CHECK)$(if $(DEMO_CLUSTER),tests/harness/context.sh $(DEMO_CONTEXT) && )tools=$$(tests/harness/prepare.sh --demo $(DEMO_TOOLS)) && exec env "TOOLS_DIR=$$tools" $(BIN)/imm-harness demo $(if $(KEEP),--keep) $(DEMO_CLUSTER)
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
