"""Instructions and their flags; mistakes with file and line."""

from __future__ import annotations

import pytest
from fledge.errors import BuildError
from fledge_builder_microvm import instructions as ins
from fledge_builder_microvm.lines import read_lines
from fledge_builder_microvm.parse import parse_lines, parse_trigger

SECOND = 10**9


def parse(text: str) -> ins.Instruction:
    (instruction,) = parse_lines(read_lines(text, "Dockerfile"))
    return instruction


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a:b", ("a:b", None, None)),
        ("from --platform=linux/arm64 a as Build-1", ("a", "linux/arm64", "build-1")),
    ],
)
def test_from(text: str, expected: tuple[str, str | None, str | None]) -> None:
    start = parse(text)
    assert isinstance(start, ins.From)
    assert (start.image, start.platform, start.name) == expected


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a=1", (("a", "1"),)),
        ("ENV a=\"x y\" b='z' c=d=e", (("a", '"x y"'), ("b", "'z'"), ("c", "d=e"))),
        ("ENV a  x  y=1 ", (("a", "x  y=1"),)),
        ("LABEL a.b=1 'c d'=2", (("a.b", "1"), ("'c d'", "2"))),
        ("ENV a= b=", (("a", ""), ("b", ""))),
    ],
)
def test_pairs(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    instruction = parse(text)
    assert isinstance(instruction, ins.Env | ins.Label)
    assert instruction.pairs == pairs


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("CMD echo  $x", ins.Command(shell="echo  $x")),
        ('CMD ["a", "b c"]', ins.Command(("a", "b c"))),
        ('CMD [ "a" ]', ins.Command(("a",))),
        ("CMD []", ins.Command(())),
        ("CMD ['a']", ins.Command(shell="['a']")),
        ("CMD [ -f x ] && y", ins.Command(shell="[ -f x ] && y")),
        ('ENTRYPOINT ["\\u0041"]', ins.Command(("A",))),
        ("RUN a \\\n b", ins.Command(shell="a  b")),
    ],
)
def test_commands(text: str, command: ins.Command) -> None:
    instruction = parse(text)
    assert isinstance(instruction, ins.Cmd | ins.Entrypoint | ins.Run)
    assert instruction.command == command


def test_copy_and_its_flags() -> None:
    copy = parse('COPY --from=x --chown="1:2" --chmod=755 --link --exclude=*.md --exclude=b a b c/')
    assert isinstance(copy, ins.Copy)
    assert (copy.origin, copy.owner, copy.mode, copy.exclude) == ("x", "1:2", "755", ("*.md", "b"))
    assert (copy.sources, copy.destination, copy.is_add) == (("a", "b"), "c/", False)


def test_copy_in_json_form() -> None:
    copy = parse('ADD --chown=1 ["a b", "/x y"]')
    assert isinstance(copy, ins.Copy)
    assert (copy.sources, copy.destination, copy.is_add, copy.owner) == (("a b",), "/x y", True, "1")


def test_copy_of_heredocs_beside_files() -> None:
    copy = parse("COPY a <<EOF b <<'X' /x/\n1\nEOF\n2\nX\n")
    assert isinstance(copy, ins.Copy)
    assert copy.sources == ("a", "b")
    assert [(heredoc.name, heredoc.expand) for heredoc in copy.heredocs] == [("EOF", True), ("X", False)]


def test_run_and_its_flags() -> None:
    run = parse(
        'RUN --network=none --mount=type=cache,target=/c --mount="type=bind,dst=/x,ro" --mount=type=tmpfs,target=/t a'
    )
    assert isinstance(run, ins.Run)
    assert run.network == "none"
    assert run.mounts == (
        {"type": "cache", "target": "/c"},
        {"type": "bind", "dst": "/x", "ro": "true"},
        {"type": "tmpfs", "target": "/t"},
    )


@pytest.mark.parametrize(
    ("text", "durations", "retries"),
    [
        ("CMD x", {}, None),
        ("CMD\tx", {}, None),
        ("--interval=1m30s --retries=5 CMD x", {"Interval": 90 * SECOND}, 5),
        (
            "--start-period=500ms --start-interval=1.5s CMD x",
            {"StartPeriod": SECOND // 2, "StartInterval": 3 * SECOND // 2},
            None,
        ),
        ("--timeout=1h CMD x", {"Timeout": 3600 * SECOND}, None),
        ("--timeout=0s CMD x", {"Timeout": 0}, None),
    ],
)
def test_healthcheck(text: str, durations: dict[str, int], retries: int | None) -> None:
    check = parse(f"HEALTHCHECK {text}")
    assert isinstance(check, ins.Healthcheck)
    assert (check.durations, check.retries) == (durations, retries)


def test_a_trigger_with_a_heredoc_comes_back_as_it_was() -> None:
    onbuild = parse("ONBUILD COPY <<-EOF /x\n\ta\n\tEOF\n")
    assert isinstance(onbuild, ins.Onbuild)
    copy = parse_trigger(onbuild.trigger, "Dockerfile:1")
    assert isinstance(copy, ins.Copy)
    assert copy.heredocs[0].content == "a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FORM x", "unknown instruction FORM; allowed: ADD, ARG, .*"),
        ("FROM", "FROM: nothing follows it"),
        ("FROM a b", "FROM: 'a b'; expected IMAGE or IMAGE AS NAME"),
        ("FROM a AS 1x", "FROM: the stage name '1x'"),
        ("FROM --platfrom=x a", "FROM: unknown flag --platfrom; allowed: --platform"),
        ("COPY a", "COPY: 'a'; expected a source and a destination"),
        ("COPY --chown a b", "COPY: --chown has no value"),
        ("COPY --chown=1 --chown=2 a b", "COPY: --chown is there twice"),
        ("COPY --link=maybe a b", "COPY: --link=maybe; true and false are allowed"),
        ("COPY --parents a b", "COPY: --parents is not supported: name the folders in the destination"),
        ("COPY --checksum=sha256:x a b", "COPY: unknown flag --checksum; allowed: --from, .*"),
        ("ADD --keep-git-dir a b", "ADD: --keep-git-dir is not supported: git repositories can't be added"),
        ("COPY --from=x <<A /x\nA", "COPY: a heredoc is not in what --from names"),
        ("RUN --security=insecure a", "RUN: --security is not supported"),
        ("RUN --network=host a", "RUN: --network=host; default and none are allowed"),
        ("RUN --mount=type=cache,target=/x", "RUN: nothing follows it"),
        ("RUN []", "RUN: the exec form is empty"),
        ("CMD [1]", "CMD: the exec form is a list of strings"),
        ("SHELL /bin/sh", "SHELL: '/bin/sh'; expected a list"),
        ("SHELL []", "SHELL: '\\[\\]'; expected a list"),
        ("ENV a", "ENV: a has no value; expected a=VALUE"),
        ("ENV a=1 b", "ENV: 'b' is not NAME=VALUE"),
        ("ENV =1", "ENV: a name is missing before =1"),
        ("ENV a='1", "ENV: a ' is not closed in .*"),
        ("ARG =x", "ARG: a name is missing before =x"),
        ("HEALTHCHECK x", "HEALTHCHECK: 'x'; expected NONE or CMD and a command"),
        ("HEALTHCHECK --interval=5 CMD x", "HEALTHCHECK: --interval=5 is not a duration such as 30s or 1m30s"),
        ("HEALTHCHECK --interval=5us CMD x", "HEALTHCHECK: --interval=5us; at least 1ms, or 0 for the default"),
        ("HEALTHCHECK --retries=-1 CMD x", "HEALTHCHECK: --retries=-1 is not a number"),
        ("HEALTHCHECK --retries=1 NONE", "HEALTHCHECK: NONE takes nothing beside it"),
        ('VOLUME [""]', "VOLUME: .* a path can't be empty"),
        ("ONBUILD FROM x", "ONBUILD: FROM can't be a trigger"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD: ONBUILD can't be a trigger"),
        ("WORKDIR --x /y", None),
    ],
)
def test_mistakes(text: str, message: str | None) -> None:
    if message is None:
        parse(text)
        return
    with pytest.raises(BuildError, match=f"^Dockerfile:2: {message}"):
        parse_lines(read_lines(f"\n{text}", "Dockerfile"))
