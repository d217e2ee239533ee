"""Base images with a transport (`FROM oci:./layout`), whose names Docker's own builders take for malformed ones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fledge.config.settings import this_platform
from fledge.errors import BuildError, UsageError
from fledge.image.reference import parse_reference
from fledge.sources import DockerfileRequest, ImageReference, ImageRequest, ImageSource
from fledge.values import Platform

_FROM: Final = re.compile(
    r"(\s*(?i:FROM)\s+)((?:--\S+\s+)*)((?:docker://|docker-daemon:|docker-archive:|oci:|oci-archive:)\S*)(.*)",
    re.DOTALL,
)
_PLATFORM: Final = re.compile(r"--platform=(\S+)", re.IGNORECASE)
_VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")
_BACKTICK: Final = re.compile(r"(?:#\s*(?:syntax|check)\s*=.*\n)*#\s*escape\s*=\s*`", re.IGNORECASE)
_MAY_HAVE_HEREDOCS: Final = re.compile(r"\s*(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\s", re.IGNORECASE)
_HEREDOC: Final = re.compile(r"(?<!\S)[0-9]*<<(-?)(?:([\"'])([^<\"']+)\2|([^\s<\"']+))(?!\S)")


def rename_bases(text: str, request: DockerfileRequest, name_of: Callable[[ImageReference, Platform], str]) -> str:
    """A Dockerfile with other names for its base images with a transport; all else stays, and so do the lines' numbers.

    `text`: what the request's Dockerfile says. Raises BuildError for what is not known without the builder: variables,
    but for the two that name platforms.
    """
    rows = text.split("\n")
    for begin, end, instruction in _instructions(rows, "`" if _BACKTICK.match(text) else "\\"):
        if found := _FROM.fullmatch(instruction):
            before, flags, base, after = found.groups()
            place = f"{request.reference.name.removeprefix('./')}:{begin + 1}: FROM {base}"
            if "$" in base:
                raise BuildError(
                    f"{place}: Fledge fetches this image before the builder knows the variables",
                    hint="write the name out, or take the builder microvm",
                )
            platform = request.platform
            if given := _PLATFORM.search(flags):
                platform = _platform(given[1], request, place)
                flags = flags.replace(given[0], f"--platform={platform}")
            try:
                reference = parse_reference(base)
            except UsageError as error:
                raise BuildError(f"{place}: {error.message}", hint=error.hint) from error
            renamed = f"{before}{flags}{name_of(reference, platform)}{after}"
            rows[begin:end] = [renamed, *[""] * (end - begin - 1)]
    return "\n".join(rows)


def _instructions(rows: Sequence[str], escape: str) -> Iterator[tuple[int, int, str]]:
    """Each instruction: its rows (first, last + 1), and what they say together.

    As in BuildKit, comments and empty rows do not end one, and an escape character that is escaped does not continue it.
    """
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}\s*$")
    begin, text = -1, ""
    at = 0
    while at < len(rows):
        row = rows[at]
        at += 1
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        begin = at - 1 if begin < 0 else begin
        text += continued.sub("", row)
        if continued.search(row):
            continue
        yield begin, at, text
        if _MAY_HAVE_HEREDOCS.match(text):
            for chomp, _, quoted, bare in _HEREDOC.findall(text):
                at = _after_heredoc(rows, at, quoted or bare, "\t" if chomp else "")
        begin, text = -1, ""
    if text:
        yield begin, at, text


def _after_heredoc(rows: Sequence[str], at: int, name: str, indent: str) -> int:
    for end in range(at, len(rows)):
        if rows[end].lstrip(indent).rstrip("\r") == name:
            return end + 1
    return at


def _platform(text: str, request: DockerfileRequest, place: str) -> Platform:
    known = {"TARGETPLATFORM": str(request.platform), "BUILDPLATFORM": str(this_platform())}
    try:
        if (variable := _VARIABLE.fullmatch(text)) and variable[1] in known:
            return Platform.parse(request.build_args.get(variable[1], known[variable[1]]))
        if "$" not in text:
            return Platform.parse(text)
        problem = "of the variables, $BUILDPLATFORM and $TARGETPLATFORM are known here"
    except ValueError as error:
        problem = str(error)
    raise BuildError(
        f"{place}: --platform={text}: {problem}", hint="write the platform out, or take the builder microvm"
    )


def with_renamed_bases(
    request: DockerfileRequest,
    fetch_base: Callable[[ImageRequest], ImageSource],
    hand: Callable[[ImageSource], str],
    folder: Path,
) -> DockerfileRequest:
    """The request with a Dockerfile in `folder` in which its base images with a transport have other names.

    Each is fetched once for a platform and handed to the builder's program by `hand`, which gives its name there. Without
    any, the request as it is. Raises BuildError, with the line for what is wrong in one.
    """
    names: dict[ImageRequest, str] = {}
    dockerfile = request.dockerfile

    def name_of(reference: ImageReference, platform: Platform) -> str:
        base = ImageRequest(reference, platform, request.base_dir)
        if base not in names:
            image = fetch_base(base)
            try:
                names[base] = hand(image)
            except OSError as error:
                raise _unwritable(folder, error) from error
        return names[base]

    try:
        text = dockerfile.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise BuildError(f"can't read {dockerfile}: {error.strerror}") from error
    text = rename_bases(text, request, name_of)
    if not names:
        return request
    try:
        renamed = folder / dockerfile.name
        renamed.write_bytes(text.encode("utf-8", "surrogateescape"))
        # BuildKit looks for a .dockerignore of its own beside a Dockerfile.
        ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
        if ignore.exists():
            shutil.copy(ignore, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return replace(request, dockerfile=renamed)


def _unwritable(folder: Path, error: OSError) -> BuildError:
    return BuildError(
        f"can't write to {folder}: {error.strerror}",
        hint="free some space, or set FLEDGE_CACHE_DIR to a folder elsewhere",
    )
