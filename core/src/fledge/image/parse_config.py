"""Image configs, parsed from bytes that nobody has vouched for (image-spec config.md)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from fledge.errors import BuildError
from fledge.image.config import ImageConfig
from fledge.image.fields import Fields, load_object
from fledge.values import Platform

_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNSET: Final = "0001-01-01T00:00:00Z"
"""Go's zero time, which is written where nobody set one."""
_PORTS: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([a-z]+))?", re.ASCII)


def parse_config(data: bytes, what: str, wanted: Platform, layers: int | None = None) -> ImageConfig:
    """The config in `data`, whose digest has been verified.

    `what` begins every message. `wanted`: the platform of a config that names none (the spec asks for one, Docker
    does not). `layers`: how many the manifest lists, None where there is no manifest.

    Raises BuildError when it is malformed or has another number of diff_ids.
    """
    fields = load_object(data, what)
    rootfs = fields.object("rootfs")
    diff_ids = rootfs.digests("diff_ids") if rootfs is not None else ()
    if rootfs is not None and rootfs.text("type") not in ("layers", None):
        rootfs.fail("type", f"{rootfs.text('type')!r}; only 'layers' is allowed")
    if layers is not None and len(diff_ids) != layers:
        fields.fail("rootfs.diff_ids", f"{len(diff_ids)} of them, but the manifest lists {layers} layers")
    run = fields.object("config") or Fields({}, f"{what}: config")
    ports = run.object("ExposedPorts")
    return ImageConfig(
        raw=data,
        platform=Platform(
            fields.text("os") or wanted.os,
            fields.text("architecture") or wanted.architecture,
            fields.text("variant"),
        ),
        diff_ids=diff_ids,
        created=_created(fields),
        entrypoint=run.texts("Entrypoint"),
        cmd=run.texts("Cmd"),
        env=run.texts("Env"),
        working_dir=run.text("WorkingDir"),
        user=run.text("User"),
        exposed_ports=_exposed(ports) if ports is not None else (),
        stop_signal=run.text("StopSignal"),
    )


def parse_moment(text: str) -> int:
    """An RFC 3339 date-time as nanoseconds since 1970; digits past the ninth are cut off. Raises ValueError."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"malformed time {text!r}; expected RFC 3339, such as 2024-05-06T07:08:09Z")
    day, clock, fraction, sign, hours, minutes = match.groups()
    leap = clock.endswith(":60")  # RFC 3339 section 5.6 allows leap seconds, datetime does not.
    moment = datetime.fromisoformat(f"{day}T{clock[:-2] + '59' if leap else clock}+00:00")
    since = moment - _EPOCH
    seconds = since.days * 86400 + since.seconds + leap
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def _created(fields: Fields) -> int | None:
    text = fields.text("created")
    if text is None or text == _UNSET:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        fields.fail("created", str(error))


def _exposed(ports: Fields) -> tuple[str, ...]:
    found: set[tuple[int, str]] = set()
    for text in ports:
        match = _PORTS.fullmatch(text)
        if match is None:
            raise BuildError(
                f"{ports.where}: malformed port {text!r}; expected a number and a protocol, such as 80/tcp"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= 65535:
            raise BuildError(f"{ports.where}: {text!r} is out of range; ports are 1 to 65535")
        found.update((number, match[3] or "tcp") for number in range(first, last + 1))
    return tuple(f"{number}/{protocol}" for number, protocol in sorted(found))
