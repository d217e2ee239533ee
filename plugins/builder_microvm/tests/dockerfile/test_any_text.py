"""Whatever a Dockerfile says, it is built or refused with a line; nothing else is raised."""

from __future__ import annotations

import re
from contextlib import suppress

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
ROWS = st.builds(
    lambda keyword, words: " ".join([keyword, *words]),
    st.sampled_from(KEYWORDS),
    st.lists(st.sampled_from(WORDS), max_size=5),
)
TEXTS = st.lists(ROWS | st.sampled_from(WORDS) | st.text(max_size=12), max_size=8).map("\n".join)


@given(text=TEXTS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dockerfiles(project: Project, text: str) -> None:
    project.write("a", "a")
    message = refusal(project, f"FROM scratch\n{text}")
    assert message is None or re.fullmatch(r"Dockerfile(:[0-9]+)?: .+", message)


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
