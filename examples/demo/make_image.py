"""Makes an OCI image layout of one program: `make_image.py PROGRAM LAYOUT`. Same program, same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path

CREATED = "2024-01-01T00:00:00Z"
MTIME = 1_704_067_200
"""The same moment in seconds since 1970."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Go's names, which OCI uses, by the kernel's."""


def root_filesystem(program: bytes) -> bytes:
    """A layer's tar: the program, a hard link to it, a symlink, and a user's home."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, kind: bytes, mode: int, *, data: bytes = b"", target: str = "", owner: int = 0) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime, info.linkname = kind, mode, MTIME, target
            info.uid = info.gid = owner
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        for folder in ("etc", "usr", "usr/bin", "home"):
            add(folder, tarfile.DIRTYPE, 0o755)
        add("tmp", tarfile.DIRTYPE, 0o1777)
        add("home/demo", tarfile.DIRTYPE, 0o750, owner=1000)
        add("bin", tarfile.SYMTYPE, 0o777, target="usr/bin")
        add("usr/bin/hello", tarfile.REGTYPE, 0o755, data=program)
        add("usr/bin/hallo", tarfile.LNKTYPE, 0o755, target="usr/bin/hello")
        add("etc/motd", tarfile.REGTYPE, 0o644, data=b"Built by fledge, without root.\n")
        add("etc/passwd", tarfile.REGTYPE, 0o644, data=b"root:x:0:0::/:/bin/hello\ndemo:x:1000:1000::/home/demo:\n")
    return out.getvalue()


def write_layout(program: bytes, layout: Path) -> None:
    """The image as an OCI layout (image-spec image-layout.md), tagged `latest`."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def keep(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    tar = root_filesystem(program)
    layer = keep(gzip.compress(tar, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    config = {
        "created": CREATED,
        "os": "linux",
        "architecture": ARCHITECTURES[platform.machine()],
        "config": {
            "Entrypoint": ["/usr/bin/hello"],
            "Env": ["PATH=/usr/bin", "PORT=8080"],
            "WorkingDir": "/home/demo",
            "User": "demo",
            "ExposedPorts": {"8080/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [layer],
    }
    entry = keep(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


if __name__ == "__main__":
    write_layout(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]))
