# weir: build, test, show. `make help` lists the targets.

CARGO  ?= cargo
TARGET ?= target
HOST   := $(shell rustc -vV | sed -n 's/^host: //p')
# Scenario tests build labs of network namespaces, each with a busy weir: two at a time are enough.
THREADS ?= 2

SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
# Only what runs in the lab needs root; the compiler does not.
RUNNER := CARGO_TARGET_$(shell echo $(HOST) | tr 'a-z-' 'A-Z_')_RUNNER
ROOT   := $(if $(SUDO),env $(RUNNER)="$(SUDO)")

# What is installed first is needed by what comes then.
.NOTPARALLEL:

.PHONY: all help weir static check test unit scenarios test-vm test-netmap test-image image image-pin run-image deb test-deb demo bench bench-compare bench-flood fuzz-quick deps clean

all: weir

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

weir: ## the binary, target/release/weir
	$(CARGO) build --release --locked -p weir

static: ## the same without shared libraries, for any Linux of this architecture
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked -p weir \
		--target $(HOST) --target-dir $(TARGET)/static
	@binary=$(TARGET)/static/$(HOST)/release/weir; \
	said="$$(LC_ALL=C ldd $$binary 2>&1 || true)"; echo "ldd: $$said"; \
	case "$$said" in *"statically linked"*) ;; *) echo "$$binary is not static" >&2; exit 1;; esac; \
	$$binary --version && ls -l $$binary

# The package holds what was built last for any Linux; BINARY names another.
BINARY ?= $(TARGET)/static/$(HOST)/release/weir
deb: ## a Debian package, target/deb/weir_VERSION_ARCHITECTURE.deb
ifeq ($(origin BINARY), file)
	$(MAKE) static
endif
	image/deb/build.sh $(BINARY) $(TARGET)/deb

test-deb: deb ## installs, starts, upgrades, removes and purges it on a clean Debian 12 (needs root or sudo, debootstrap)
	@command -v debootstrap > /dev/null || { echo "debootstrap is missing" >&2; exit 1; }
	image/deb/build.sh $(BINARY) $(TARGET)/deb/again
	cmp $(TARGET)/deb/weir_*.deb $(TARGET)/deb/again/weir_*.deb
	[ -e $(TARGET)/deb/debian-12.tar ] || $(SUDO) image/deb/make-root.sh $(TARGET)/deb/debian-12.tar
	$(SUDO) image/deb/test.sh $(TARGET)/deb/weir_*.deb $(TARGET)/deb/debian-12.tar
	! command -v lintian > /dev/null || lintian --fail-on error $(TARGET)/deb/weir_*.deb

# A netmap module that was built for the image's kernel, if one is named; WEIR_SIGNING_KEY signs upgrades.
image: ## the appliance's image, target/image/weir.img, and its upgrade file; NETMAP_KO=... BINARY=...
ifeq ($(origin BINARY), file)
	$(MAKE) static
endif
	image/build/deps
	image/build/build.sh $(if $(NETMAP_KO),--netmap-ko $(NETMAP_KO)) $(BINARY) $(TARGET)/image

image-pin: ## takes today's versions of Debian's kernel, busybox and boot loader into the image
	image/build/pin.sh $(TARGET)/image/cache

# An image that is there already, instead of the one that is built first.
IMAGE ?= $(TARGET)/image/weir.img
run-image: ## boots the image in QEMU between two network namespaces, its console here (needs root or sudo)
	image/build/deps run
ifeq ($(origin IMAGE), file)
	$(MAKE) image
endif
	$(CARGO) build --locked -p weir-tests --bin weir-box
	@$(SUDO) env WEIR_IMAGE=$(abspath $(IMAGE)) $(TARGET)/debug/weir-box

test-image: ## the image in QEMU, on BIOS and UEFI, by software emulation (needs root or sudo; an hour); IMAGE=...
	image/build/deps run
ifeq ($(origin IMAGE), file)
	$(MAKE) image
	mkdir -p $(TARGET)/image/again && ln -sfn ../cache $(TARGET)/image/again/cache
	WEIR_SIGNING_KEY=$${WEIR_SIGNING_KEY:-$(TARGET)/image/keys/development.key} image/build/build.sh \
		$(if $(NETMAP_KO),--netmap-ko $(NETMAP_KO)) $(BINARY) $(TARGET)/image/again
	cmp $(TARGET)/image/weir.img $(TARGET)/image/again/weir.img
endif
	$(ROOT) WEIR_IMAGE=$(abspath $(IMAGE)) RUST_TEST_THREADS=1 \
		$(CARGO) test --locked -p weir-tests --test image -- --nocapture $(ONLY)

check: ## formatting and lints, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

test: deps check weir ## everything: formatting, lints, unit and scenario tests (needs root or sudo)
	$(ROOT) RUST_TEST_THREADS=$(THREADS) $(CARGO) test --workspace --locked --no-fail-fast

unit: ## the tests that need no root
	$(CARGO) test --workspace --locked --exclude weir-tests

scenarios: weir ## the lab's tests alone; make scenarios ONLY=xdp_inet6
	$(ROOT) RUST_TEST_THREADS=$(THREADS) $(CARGO) test --locked -p weir-tests --test scenarios -- $(ONLY)

# A kernel image of Debian, unpacked with its modules; that of the package index if none is named.
VM_KERNEL ?=
test-vm: weir ## care of real NIC drivers, in virtual machines (needs QEMU; minutes); VM_KERNEL=... QEMU=...
	kernel=$(or $(VM_KERNEL),$$(.ci/kernel $(TARGET)/vm)) && \
	VM_KERNEL=$$kernel WEIR_BIN=$(abspath $(TARGET)/release/weir) RUST_TEST_THREADS=1 \
		$(CARGO) test --locked -p weir-tests --test vm -- --nocapture $(ONLY)

test-netmap: ## weir on a real netmap module, in a virtual machine; NETMAP_KO=... NETMAP_KERNEL=...
ifdef NETMAP_KO
	$(MAKE) weir
	WEIR_BIN=$(abspath $(TARGET)/release/weir) \
		RUST_TEST_THREADS=1 $(CARGO) test --locked -p weir-tests --test netmap -- --nocapture $(ONLY)
else
	@echo "skipped: NETMAP_KO=/path/netmap.ko names no netmap module, so nothing was tried on a real one"
endif

demo: deps weir ## weir at work between two hosts in network namespaces (needs root or sudo)
	$(CARGO) build --locked -p weir-tests --bin weir-demo
	@$(SUDO) env WEIR_BIN=$(TARGET)/release/weir $(TARGET)/debug/weir-demo

bench: weir ## the engine alone, in memory: millions of frames a second, bytes a state
	$(TARGET)/release/weir bench

bench-compare: weir ## weir beside the kernel's bridge and an unfiltered forwarder (needs root or sudo)
	$(CARGO) build --release --locked -p weir-hw --example forward
	$(CARGO) build --release --locked -p weir-tests --bin weir-compare
	$(SUDO) env WEIR_BIN=$(TARGET)/release/weir $(TARGET)/release/weir-compare $(ARGS)

bench-flood: weir ## a SYN flood against weir and against the kernel's means (needs root or sudo)
	$(CARGO) build --release --locked -p weir-tests --bin weir-flood
	$(SUDO) env WEIR_BIN=$(TARGET)/release/weir $(TARGET)/release/weir-flood $(ARGS)

# Seconds for each target.
FUZZ ?= 30
fuzz-quick: ## every fuzz target for half a minute (needs nightly and cargo-fuzz); FUZZ=600 for more
	@$(CARGO) +nightly fuzz --version || \
		{ echo "rustup toolchain install nightly && cargo install cargo-fuzz" >&2; exit 1; }
	@set -e; for target in $$($(CARGO) +nightly fuzz list --fuzz-dir tests/fuzz); do \
		echo "== $$target"; \
		mkdir -p tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target; \
		$(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target \
			tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target \
			-- -max_len=2048 -max_total_time=$(FUZZ); \
	done

deps: ## installs what building and testing need, on Debian and Ubuntu
	@.ci/deps $(TARGET)

clean:
	$(CARGO) clean
