"""A Dockerfile without RUN, built by `fledge build` and by `docker build`, side by side.

    .venv/bin/python bench/dockerfile.py [-n ROUNDS]

Needs root and Debian's docker.io and busybox-static: it starts a dockerd of its own. Every round begins with both caches
empty; then both build once more with nothing changed. Docker's daemon is there already and ends with the image, so what
counts of Fledge are its steps: from when the builder is chosen until the image is there. It goes on to an ext4 disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from fledge.testing.builders import dockerd
from fledge.testing.dockerfiles import docker_of_buildkit

FLEDGE = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "fledge"
FILES = 3000
DOCKERFILE = """\
FROM scratch AS sources
COPY packages /usr/lib/packages
COPY --chown=33:33 packages/1 /srv/one

FROM scratch
ENV LANG=C.UTF-8 WORDS="a b"
WORKDIR /app
COPY --from=sources /usr/lib/packages/2 /app/two
COPY --from=sources --chmod=0640 /srv/one /app/one
COPY . /app/context
COPY --chmod=0755 run /app/run
LABEL org.opencontainers.image.title=bench
USER 33
ENTRYPOINT ["/app/run"]
"""


def write_context(folder: Path) -> None:
    """Folders of files from 10 bytes to 100 KB, half of what is in them compressible."""
    source = random.Random(7)
    for number in range(FILES):
        path = folder / "packages" / str(number % 10) / str(number % 97) / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(10 ** source.uniform(1, 5))
        path.write_bytes(source.randbytes(size // 2) + b"line of text\n" * (size // 26))
    shutil.copyfile("/bin/busybox", folder / "run")  # Static: what can't start is not built.
    (folder / "Dockerfile").write_text(DOCKERFILE)


def timed(argv: list[str | Path], folder: Path, environ: dict[str, str]) -> float:
    os.sync()
    begin = time.perf_counter()
    subprocess.run(argv, cwd=folder, env={**os.environ, **environ}, check=True, capture_output=True)
    return time.perf_counter() - begin


def with_steps(argv: list[str | Path], folder: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Seconds that the steps took, and all of them."""
    begin = time.time()
    environ = {**os.environ, **environ}
    done = subprocess.run(argv, cwd=folder, env=environ, check=True, capture_output=True, text=True)
    all_of_it = time.time() - begin
    events = [json.loads(line) for line in done.stderr.splitlines()]
    began, ended = (
        next(event["time"] for event in events if event.get("message", "").startswith(word))
        for word in ("builder: ", "image: ")
    )
    return ended - began, all_of_it


def measure(docker: Path, rounds: int, scratch: Path) -> dict[str, list[float]]:
    """Seconds of every round."""
    context = scratch / "context"
    write_context(context)
    options = ("--builder", "microvm", "--agent", "none", "--filesystem", "ext4")
    ours: list[str | Path] = [FLEDGE, "build", "--log-format", "json", *options, "-o", scratch / "o.img", "."]
    theirs: list[str | Path] = [docker, "build", "-t", "bench", "."]
    figures: dict[str, list[float]] = {"docker": [], "steps": [], "disk": [], "docker again": [], "disk again": []}
    with dockerd(scratch) as host:
        engine = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "1"}
        for _ in range(rounds):
            fledge = {"FLEDGE_CACHE_DIR": tempfile.mkdtemp(dir=scratch), "PYTHONDONTWRITEBYTECODE": ""}
            timed([docker, "builder", "prune", "-af"], context, engine)
            figures["docker"].append(timed(theirs, context, engine))
            os.sync()
            steps, disk = with_steps(ours, context, fledge)
            figures["steps"].append(steps)
            figures["disk"].append(disk)
            figures["docker again"].append(timed(theirs, context, engine))
            figures["disk again"].append(timed(ours, context, fledge))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=3, dest="rounds", help="rounds; the median counts (default 3)")
    rounds = parser.parse_args().rounds
    try:
        docker = Path(docker_of_buildkit()) / "docker"
        with tempfile.TemporaryDirectory(prefix="fledge-bench-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
            figures = measure(docker, rounds, Path(name))
    except pytest.skip.Exception as reason:  # What the tests skip for, too: no root, no dockerd, no docker.
        sys.exit(str(reason))
    median = {name: statistics.median(seconds) for name, seconds in figures.items()}
    print(f"docker build, to an image:     {median['docker']:6.2f} s   again {median['docker again']:5.2f} s")
    print(f"fledge build, its steps:       {median['steps']:6.2f} s")
    print(f"              to an ext4 disk: {median['disk']:6.2f} s   again {median['disk again']:5.2f} s")
    ratio = median["docker"] / median["steps"]
    again = "ok" if median["disk again"] < 1 else "(not under 1 s)"
    print(f"steps {ratio:.1f}x {'ok' if ratio >= 5 else '(<5)'}; with nothing changed {again}")


if __name__ == "__main__":
    main()
