# Every command of the project. `make demo` and `make test` set up what they need on a fresh Debian machine.
SHELL := /bin/bash
# What machines are booted with; tools/debian-kernel unpacks a kernel without installing it.
MACHINES := kmod qemu-system-x86
# What the tests of the guest init and of booting take beside that.
GUESTS := binutils gcc libc6-dev linux-image-cloud-amd64 qemu-user-static xz-utils
# What the tests' oracles come from.
ORACLES := acl apache2-utils attr btrfs-progs buildah busybox-static cpio curl docker-registry docker.io dpkg-dev e2fsprogs \
           erofs-utils libarchive-tools libcap2-bin mmdebstrap openssl pigz skopeo squashfs-tools strace uidmap \
           umoci util-linux xfsprogs zstd
# Where a proxy inspects TLS, the machine knows its certificate and uv's own list does not.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS := 1
endif
export UV_COMPILE_BYTECODE := 1
# Without it every run of the command would compile the workspace's modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint format bench wheels clean

help: ## shows this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

.uv/bin/uv: tools/bootstrap
	./tools/bootstrap
	@touch $@

.venv/.ready: .uv/bin/uv uv.lock pyproject.toml core/pyproject.toml \
              $(wildcard guest/pyproject.toml guest/hatch_build.py guest/src/init/* plugins/*/pyproject.toml)
	.uv/bin/uv sync --quiet --locked
	@touch $@

setup: .venv/.ready ## makes .venv with the locked dependencies

demo: setup ## builds a small HTTP service as an initramfs and as a disk, boots both and asks them
	./tools/debian-packages $(MACHINES)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" ./examples/demo/run

test: setup ## the whole suite; a test that lacks root or a package says so
	./tools/debian-packages $(ORACLES) $(MACHINES) $(GUESTS)
	@if [ "$$CI" = true ]; then ./tools/test-material; fi
	.venv/bin/python -m pytest -n 2 --dist loadgroup

lint: setup ## ruff, format check, mypy --strict
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy core/src guest/src $(wildcard plugins/*/src)

format: setup ## formats the code and mends what ruff can mend
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: setup ## compares builds with the original's command sequence, side by side (root)
	.venv/bin/python bench/run.py $(ARGS)

wheels: .uv/bin/uv ## a wheel of every package, in dist/
	.uv/bin/uv build --quiet --wheel --all-packages --out-dir dist

clean: ## removes what the commands above made
	rm -rf .uv .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
