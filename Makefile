# The commands people type. `make` alone lists them.

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help run test check fuzz reference dist bench idle setup setup-tests setup-bench setup-dist tools

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

run: setup ## build and run the whole edge on this machine
	cargo build --profile quick --locked
	exec target/quick/tidegate up

# What is tested and checked beyond what a plain build has: the mode `dr` of the L4 balancer, which needs clang.
FEATURES = --features l4-dr

# The tests of the user services' API, with each part of them by itself.
SEPARATE = TIDEGATE_USERS_DEPLOYMENT=separate

test: setup setup-tests ## every test, against the real binary
	cargo build --locked $(FEATURES)
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --locked $(FEATURES) --no-fail-fast && \
		cargo test --workspace --locked $(FEATURES) --doc && \
		$(SEPARATE) cargo nextest run --workspace --locked $(FEATURES) --no-fail-fast \
			-E 'package(tidegate-users) & test(/^api::tests/)'; \
	else \
		cargo test --workspace --locked $(FEATURES) --no-fail-fast && \
		$(SEPARATE) cargo test --workspace --locked $(FEATURES) --no-fail-fast --lib api::tests; \
	fi

check: setup tools ## format, lints, documentation, unused dependencies
	cargo fmt --all --check
	@$(call install,clang:clang)
	cargo clippy --workspace --all-targets --locked $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked $(FEATURES)
	target/tools/bin/cargo-machete

# Stable Rust has no sanitizers; the parsers are safe code, and a panic or an overflow is found without.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS = $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))

fuzz: setup target/tools/bin/cargo-fuzz ## every fuzz target for FUZZ_SECONDS seconds, 60 by default
	@for name in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$name; \
		PATH="$$PWD/target/tools/bin:$$PATH" cargo fuzz run --sanitizer none --target-dir target/fuzz \
			$$name target/fuzz/corpus/$$name fuzz/corpus/$$name -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

reference: ## write docs/reference anew from the types
	cargo build --locked
	@for role in gateway l4 dns users; do \
		target/debug/tidegate schema $$role --format markdown > docs/reference/$$role.md; \
	done

# The binary for production. The first build counts which way its code goes under the benchmark's load, and the
# second is laid out by that.
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
DIST = target/$(TARGET)/dist/tidegate
GUIDE = $(CURDIR)/target/guide
GUIDED = --profile dist --locked -p tidegate --target $(TARGET)
TRAINING = plain bodies post short tls h2 policy routes websocket grpc

dist: setup setup-dist ## the binary for production, guided by a profile; it says where it is (20 minutes)
	cargo build --release --locked -p tidegate-bench
	rm -rf $(GUIDE)/counts
	RUSTFLAGS="-Cprofile-generate=$(GUIDE)/counts" cargo build $(GUIDED) --target-dir $(GUIDE)
	target/release/tidegate-bench $(TRAINING) --peers tidegate --seconds 1 --rounds 2 \
		--tidegate $(GUIDE)/$(TARGET)/dist/tidegate
	llvm-profdata-19 merge -o $(GUIDE)/profile $(GUIDE)/counts
	RUSTFLAGS="-Cprofile-use=$(GUIDE)/profile" cargo build $(GUIDED)
	@echo "$(DIST)"

# Figures of the binary for production. `make bench SUITES="plain tls" BENCH="--rounds 9"`; bench/README.md says more.
SUITES ?= all
BENCH ?=
# Some suites alone do not replace the table of a whole run.
HEADLINE = $(if $(filter all,$(SUITES)),--readme README.md)

bench: setup-bench dist ## beside nginx, HAProxy, Caddy and bare Pingora (all suites: 28 minutes, and those of `dist`)
	target/release/tidegate-bench $(SUITES) --tidegate $(DIST) --report bench/reports $(HEADLINE) $(BENCH)

idle: setup setup-bench ## memory of an idle connection beside nginx (a minute)
	cargo build --profile quick --locked -p tidegate -p tidegate-bench
	target/quick/tidegate-bench idle --peers nginx --workers 2

# Pingora's zlib needs cmake; ring, AWS-LC, SQLite and mimalloc a C compiler.
setup:
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs"; exit 1; }
	@$(call install,cmake:cmake cc:gcc make:make)

setup-tests:
	@$(call install,curl:curl openssl:openssl nginx:nginx-light pebble:pebble mariadbd:mariadb-server \
		redis-server:redis-server redis-sentinel:redis-sentinel memcached:memcached \
		dig:bind9-dnsutils delv:bind9-dnsutils kdig:knot-dnsutils nsd:nsd knotd:knot unbound:unbound \
		gdnsd:gdnsd dnsperf:dnsperf ip:iproute2 nft:nftables conntrack:conntrack ethtool:ethtool \
		clang:clang keepalived:keepalived haproxy:haproxy)
	@ls /usr/lib/*/knot/modules-*/geoip.so >/dev/null 2>&1 || { $(call packages,knot-module-geoip); }
	@/usr/bin/python3 -c "import grpc, websockets" 2>/dev/null || \
		{ $(call packages,python3 python3-grpcio python3-websockets); }
	@/usr/bin/python3 -c "import ensurepip" 2>/dev/null || { $(call packages,python3-venv); }
	@$(MAKE) --no-print-directory target/tools/python/ready

setup-bench:
	@$(call install,nginx:nginx-light haproxy:haproxy caddy:caddy redis-server:redis-server \
		dnsperf:dnsperf nsd:nsd knotd:knot gdnsd:gdnsd ldns-signzone:ldnsutils)
	@ls /usr/lib/*/knot/modules-*/geoip.so >/dev/null 2>&1 || { $(call packages,knot-module-geoip); }
	@test -e /usr/lib/nginx/modules/ngx_http_js_module.so || { $(call packages,libnginx-mod-http-js); }
	@test -e /usr/lib/nginx/modules/ngx_stream_module.so || { $(call packages,libnginx-mod-stream); }

setup-dist:
	@$(call install,llvm-profdata-19:llvm-19)

tools: target/tools/bin/cargo-machete

target/tools/bin/cargo-machete:
	cargo install --root target/tools --locked cargo-machete@0.9.2

target/tools/python/ready: tests/clients/requirements.txt
	/usr/bin/python3 -m venv --clear target/tools/python
	target/tools/python/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

target/tools/bin/cargo-fuzz:
	@$(call install,c++:g++)
	cargo install --root target/tools --locked cargo-fuzz@0.13.1

# install PROGRAM:PACKAGE...: installs the packages of the programs that are missing.
define install
	missing=; for pair in $(1); do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	if [ -n "$$missing" ]; then $(call packages,$$missing); fi
endef

define packages
	echo "installing" $(1); \
	$(SUDO) apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $(1) >/dev/null
endef
