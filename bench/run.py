"""Builds beside the original's command sequence, in one run: ratios, stages, sizes and peak memory.

    make bench                                     every image, every format
    make bench ARGS='nginx --format ext4 -n 3'     some of it, three rounds

Needs root (the reference mounts), and the tools that make the images and run the reference: make-images and
reference-build, in the folder FLEDGE_BENCH_TOOLS (default: ../shared/tools beside the checkout). They are not in this
repository.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fledge.testing.oracles import BENCH_TOOLS as TOOLS

ROOT = Path(__file__).resolve().parent.parent
FLEDGE = ROOT / ".venv" / "bin" / "fledge"
IMAGES = ("nginx", "science", "many")
REGISTRY = "docker://127.0.0.1:5055"
TARGETS = {  # cold and warm, at least this many times faster than the reference
    "ext4": (8.0, 15.0),
    "squashfs-15": (2.3, 20.0),
    "squashfs-9": (8.0, 20.0),
    "initramfs": (5.0, 5.0),
    "xfs": (4.0, 4.0),
    "btrfs": (4.0, 4.0),
    "erofs": (0.0, 0.0),
    "erofs-lz4": (0.0, 0.0),
}
"""The original knows no erofs. There the reference is mkfs.erofs alone, from a tree that was unpacked before, and what
counts is our writing of the tree alone."""


@dataclass
class Run:
    """One process, as the kernel accounts for it."""

    wall: float
    cpu: float
    peak: int
    stages: dict[str, float] = field(default_factory=dict)


@dataclass
class Row:
    image: str
    format: str
    reference: float
    cold: float
    warm: float
    size: int
    reference_size: int
    peak: int
    stages: dict[str, float]
    reference_stages: dict[str, float]
    compress_alone: float | None = None
    mksquashfs_size: int | None = None


def spawn(argv: list[str], cwd: Path, env: dict[str, str]) -> tuple[Run, str]:
    """Runs a process to its end; its stderr is returned."""
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{text}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024), text


def build(folder: Path, cache: Path) -> Run:
    env = {**os.environ, "FLEDGE_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    run, log = spawn([str(FLEDGE), "--log-format", "json", "build"], folder, env)
    begun: dict[str, float] = {}
    for line in log.splitlines():
        event = json.loads(line)
        if event.get("event") == "started":
            begun[event["stage"]] = event["time"]
        elif event.get("event") == "ended":
            stage = re.sub(r"layer \S+", "layers", event["stage"])
            run.stages[stage] = run.stages.get(stage, 0) + event["time"] - begun[event["stage"]]
    return run


def write_config(folder: Path, image: str, format_: str, mapped: str) -> None:
    kind, _, level = format_.partition("-")
    (folder / "mapped.conf").write_text(mapped)
    strategy, filesystem = "oci_rootfs", f'type = "{kind}"\n'
    if kind == "initramfs":
        strategy, filesystem = "initramfs", 'xattrs = "drop"\n[initramfs]\nbusybox = false\n'
    if kind == "erofs":
        filesystem += f'compression = "{level or "none"}"\n'
        level = ""
    (folder / "fledge.toml").write_text(
        f'version = "1"\nstrategy = "{strategy}"\n[agent]\nsource_strategy = "none"\n'
        f'[source]\nimage = "{image}"\n[filesystem]\n{filesystem}'
        + (f"compression_level = {level}\n" if level else "")
        + '[mappings]\n"mapped.conf" = "/etc/mapped.conf"\n'
    )


def reference(name: str, format_: str, folder: Path) -> tuple[float, dict[str, float], int]:
    if format_.startswith("erofs"):
        return mkfs_erofs(name, format_, folder)
    image = f"{REGISTRY}/{name}:latest"
    begin = time.perf_counter()
    done = subprocess.run(
        [TOOLS / "reference-build", image, format_.partition("-")[0], folder / "reference.img"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    (folder / "reference.img").unlink(missing_ok=True)
    if done.returncode:
        # It sizes the image by the tree's blocks and may run out of room: what it took until then is less than it would take.
        seconds = time.perf_counter() - begin
        print(
            f"the reference fails after {seconds:.2f} s, which count: {done.stderr.strip().splitlines()[0]}",
            file=sys.stderr,
        )
        return seconds, {}, 0
    figures = dict(line.split("\t") for line in done.stdout.splitlines())
    return float(figures.pop("total")), {k: float(v) for k, v in figures.items() if k != "size"}, int(figures["size"])


def compress_alone(artifact: Path, level: int) -> float:
    """Seconds to compress the file contents of an artifact in 128 KiB blocks on all cores, and nothing else."""
    import zstandard
    from fledge.inspection import read_artifact
    from fledge.tree.inode import File

    _, tree = read_artifact(artifact)
    seen: set[int] = set()
    data = bytearray()
    blocks: list[bytes] = []
    for _, inode in tree.walk():
        if isinstance(inode, File) and id(inode) not in seen:
            seen.add(id(inode))
            for chunk in inode.content.chunks():
                data += chunk
                while len(data) >= 128 << 10:
                    blocks.append(bytes(data[: 128 << 10]))
                    del data[: 128 << 10]
    blocks.append(bytes(data))
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda block: len(zstandard.ZstdCompressor(level=level).compress(block)), blocks, chunksize=16))
    return time.perf_counter() - begin


def unpacked(name: str, folder: Path) -> Path:
    """The merged tree of an image, as a folder."""
    layout = Path(os.environ.get("IMAGES", Path.home() / ".cache/fledge-images")) / name
    bundle = folder / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:latest", bundle], check=True, capture_output=True)
    return bundle / "rootfs"


def mkfs_erofs(name: str, format_: str, folder: Path) -> tuple[float, dict[str, float], int]:
    """mkfs.erofs by itself, with clusters as large as ours, and its result brought to disk as ours is."""
    tree = unpacked(name, folder)
    out = folder / "mkfs.img"
    options = ["-zlz4", "-C131072"] if format_ == "erofs-lz4" else []
    os.sync()
    begin = time.perf_counter()
    subprocess.run(["mkfs.erofs", "--quiet", *options, out, tree], check=True, capture_output=True)
    subprocess.run(["sync", out], check=True)
    seconds = time.perf_counter() - begin
    size = out.stat().st_size
    out.unlink()
    shutil.rmtree(folder / "bundle")
    return seconds, {"mkfs": seconds}, size


def mksquashfs_size(name: str, folder: Path) -> int:
    """What mksquashfs makes of the same tree with the same compressor and level."""
    tree = unpacked(name, folder)
    out = folder / "mksquashfs.img"
    options = ["-comp", "zstd", "-Xcompression-level", "15", "-noappend", "-no-progress", "-quiet"]
    subprocess.run(["mksquashfs", tree, out, *options], check=True, capture_output=True)
    size = out.stat().st_size
    out.unlink()
    shutil.rmtree(folder / "bundle")
    return size


def measure(name: str, format_: str, rounds: int, scratch: Path, deep: bool) -> Row:
    image = f"{REGISTRY}/{name}:latest"
    theirs, colds, warms = [], [], []
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp(dir=scratch))
        cache = folder / "cache"
        theirs.append(reference(name, format_, folder))
        write_config(folder, image, format_, f"cold {number}\n")
        os.sync()  # What one wrote must not be flushed while the other is timed.
        colds.append(build(folder, cache))
        write_config(folder, image, format_, f"warm {number}\n")
        os.sync()
        warms.append(build(folder, cache))
        artifact = folder / ("plugin.cpio.gz" if format_ == "initramfs" else f"{name}-rootfs.img")
        size = artifact.stat().st_size
        if number == rounds - 1:
            row = Row(
                name,
                format_,
                statistics.median(figure[0] for figure in theirs),
                statistics.median(run.wall for run in colds),
                statistics.median(run.wall for run in warms),
                size,
                theirs[-1][2],
                max(run.peak for run in colds + warms),
                colds[-1].stages,
                theirs[-1][1],
            )
            if deep and format_ == "squashfs-15":
                # Elsewhere: the peak that Linux gives for a process counts what its parent had when it was forked.
                with ProcessPoolExecutor(1) as pool:
                    row.compress_alone = pool.submit(compress_alone, artifact, 15).result()
                row.mksquashfs_size = mksquashfs_size(name, folder)
        shutil.rmtree(folder)
    return row


def verdict(ratio: float, target: float) -> str:
    return f"{ratio:.1f}x {'ok' if ratio >= target else f'(<{target:g})'}"


def show(row: Row) -> None:
    cold, warm = TARGETS[row.format]
    print(
        f"{row.image:<8} {row.format:<12} reference {row.reference:7.2f} s   "
        f"cold {row.cold:6.2f} s {verdict(row.reference / row.cold, cold):<12} "
        f"warm {row.warm:6.2f} s {verdict(row.reference / row.warm, warm):<12} "
        f"{row.size / 1e6:7.1f} MB   peak {row.peak / 1e6:4.0f} MB",
        flush=True,
    )
    if row.stages:
        print("         ours: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in row.stages.items()))
        print(
            "         reference: "
            + ", ".join(f"{name} {seconds:.2f}" for name, seconds in row.reference_stages.items())
        )
    if row.format == "initramfs" and row.reference_size:
        print(f"         size is {row.size / row.reference_size - 1:+.1%} of find | cpio | gzip -n -9")
    if row.format.startswith("erofs"):
        alone = row.stages["writing erofs"]
        print(
            f"         writing alone {alone:.2f} s, {verdict(row.reference / alone, 1)} as fast as mkfs.erofs; "
            f"size is {row.size / row.reference_size - 1:+.1%} of its"
        )
    if row.compress_alone is not None and row.mksquashfs_size is not None:
        print(
            f"         compressing alone {row.compress_alone:.2f} s, the build takes {row.cold / row.compress_alone:.2f} times that; "
            f"size is {row.size / row.mksquashfs_size - 1:+.1%} of mksquashfs -comp zstd level 15"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", default=IMAGES, metavar="IMAGE", help=", ".join(IMAGES))
    parser.add_argument("--format", action="append", choices=TARGETS, help="default: all")
    parser.add_argument("-n", type=int, default=1, dest="rounds", help="rounds; the median counts (default 1)")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    parser.add_argument("--shallow", action="store_true", help="neither compress alone nor run mksquashfs with zstd")
    args = parser.parse_args()
    for tool in ("make-images", "reference-build"):
        if not (TOOLS / tool).exists():
            sys.exit(f"{TOOLS / tool} is not there; set FLEDGE_BENCH_TOOLS to its folder")
    if os.geteuid():
        sys.exit("the reference mounts loop devices: run the bench as root")
    subprocess.run([TOOLS / "make-images", *args.images], check=True)
    subprocess.run([TOOLS / "make-images", "--serve"], check=True, stdout=subprocess.DEVNULL)
    scratch = Path(tempfile.mkdtemp(prefix="fledge-bench-", dir="/var/tmp"))
    rows = []
    try:
        for format_ in args.format or TARGETS:
            for name in args.images:
                rows.append(measure(name, format_, args.rounds, scratch, not args.shallow))
                show(rows[-1])
    finally:
        shutil.rmtree(scratch)
    begin = time.perf_counter()
    subprocess.run([FLEDGE, "version"], check=True, stdout=subprocess.DEVNULL)
    print(f"fledge version: {time.perf_counter() - begin:.2f} s")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(f"as JSON: {args.json}")


if __name__ == "__main__":
    main()
