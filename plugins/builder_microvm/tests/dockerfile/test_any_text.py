"""Whatever a Dockerfile says, it is built or refused with a line; nothing else is raised."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from fledge.errors import BuildError
from fledge.testing.dockerfiles import Project
from fledge_builder_microvm.patterns import IgnoreRules, match_name
from fledge_builder_microvm.words import UnfinishedError, Words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEYWORDS = [
    "FROM",
    "ARG",
    "ENV",
    "COPY",
    "ADD",
    "RUN",
    "CMD",
    "ENTRYPOINT",
    "LABEL",
    "EXPOSE",
    "VOLUME",
    "USER",
    "WORKDIR",
    "SHELL",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
    "MAINTAINER",
    "FOO",
]
WORDS = (
    "scratch", "AS", "a", "b/", ".", "..", "/", "*", "[", "\\", "$a", "${a:-x}", "${", "'", '"', "<<EOF", "EOF", "--from=x", "--chown=1",
    "--mount=type=cache,target=/c", "--", "=", "a=b", '["a"]', "[]", "NONE", "80", "#", "\t", "`", "--from=0", "<<-'E'", "E", "RUN",
)  # fmt: skip
PIECES = (
    *WORDS, "*/../b", "--interval=", "--retries=", "--from=", "--platform=", "--mount=type=tmpfs,target=", "--chmod=", "CMD", "9" * 400,
    "9" * 5000, "0" * 5000, "s", "\r", '"', ",", "[[", "]", "=", "/", "a", "${a:-" * 300, "[" * 5000, "${x//", "<<'E F'", "\xa0", "\0",
)  # fmt: skip
ROWS = st.builds(
    lambda keyword, words, pieces: " ".join([keyword, *words]) + " " + "".join(pieces),
    st.sampled_from(KEYWORDS),
    st.lists(st.sampled_from(WORDS), max_size=5),
    st.lists(st.sampled_from(PIECES), max_size=4),
)
TEXTS = st.lists(ROWS | st.sampled_from(WORDS) | st.text(max_size=12), max_size=8).map("\n".join)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dockerfiles(project: Project, text: str) -> None:
    project.write("a", "a")
    message = refusal(project, f"FROM scratch\n{text}")
    assert message is None or re.fullmatch(r"Dockerfile(:[0-9]+)?: .+", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY a*/../a /x", None),
        ("COPY a*/../b /x", "COPY: 'a*/../b' is not in the build context"),
        ("CMD " + "[" * 100_000, None),
        ("ENV x=" + "${a:-" * 5000 + "}" * 5000, "ENV: more than 100 substitutions in one another in '${a:-"),
        ("ENV x=" + "${a:-" * 100 + "}" * 100, None),
        (f"HEALTHCHECK --retries={'9' * 5000} CMD x", "HEALTHCHECK: --retries=99"),
        (f"HEALTHCHECK --interval={'9' * 400}s CMD x", "HEALTHCHECK: --interval=99"),
        ("HEALTHCHECK --interval=2562048h CMD x", "HEALTHCHECK: --interval=2562048h is more than 292 years"),
        ("HEALTHCHECK --interval=2562047h CMD x", None),
        (f"STOPSIGNAL {'9' * 5000}", "STOPSIGNAL: '99"),
        (f"COPY --from={'9' * 5000} / /", "COPY: "),
        ('RUN --mount="type=tmpfs\r,target=/x" y', "RUN: --mount='type=tmpfs\\r,target=/x' is not comma-separated"),
    ],
    ids=lambda value: (value or "built")[:40],
)
def test_what_was_a_traceback_once(project: Project, text: str, message: str | None) -> None:
    project.write("a", "a")
    found = refusal(project, f"FROM scratch\n{text}\n")
    assert found == message or (found or "").startswith(f"Dockerfile:2: {message}")


def refusal(project: Project, text: str) -> str | None:
    try:
        project.build(text.encode("utf-8", "replace").decode(), no_cache=True)
    except BuildError as error:
        return error.message
    return None


@given(text=st.text("ab\\'\"$ {}:-+?#%/*", max_size=20))
@settings(max_examples=500, deadline=None)
def test_words(text: str) -> None:
    words = Words("\\")
    for expand in (words.expand, words.expand_document, words.expand_many):
        with suppress(UnfinishedError):
            expand(text, {"a": "1"})
    with suppress(UnfinishedError):
        assert all(word and not word.isspace() for word in words.split_raw(text))


@given(pattern=st.text("ab*?[]^-\\!/.", max_size=12), name=st.text("ab.-]^", max_size=5))
@settings(max_examples=500, deadline=None)
def test_patterns(pattern: str, name: str) -> None:
    with suppress(ValueError):
        match_name(pattern)(name.encode())
        IgnoreRules.of([pattern or "a"], "rules").matches(name, ())
