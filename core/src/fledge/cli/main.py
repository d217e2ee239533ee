"""`fledge`: finds the command, runs it, and turns what went wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from fledge.cli.terminal import Terminal, discard, results
from fledge.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, ConfigError, FledgeError

_COMMANDS: Final = {
    "build": "builds an artifact and its manifest",
    "validate": "checks fledge.toml and manifest.toml, and tells all problems at once",
    "plugins": "lists what is installed and what failed to load",
    "plugin": "makes the package of a new plugin",
    "schema": "prints a JSON Schema for editors and checkers",
    "boot": "boots an artifact in a virtual machine and tells whether it came up",
    "inspect": "shows what is inside an artifact without mounting it",
    "verify": "reads an artifact back and compares it with its manifest and its image",
    "cache": "lists or prunes what builds keep for the next one",
    "version": "prints the version",
}


def _told(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Settles a global option, wherever on the command line it stands."""
    if value and not ctx.resilient_parsing:
        ctx.find_object(Terminal).configure(**{str(param.name): value})  # type: ignore[union-attr]


def _global_options() -> list[click.Parameter]:
    shared: dict[str, Any] = {"expose_value": False, "callback": _told}
    return [
        click.Option(["-v", "--verbose"], is_flag=True, help="Tell more.", **shared),
        click.Option(["-q", "--quiet"], is_flag=True, help="Tell only warnings and errors.", **shared),
        click.Option(["--log-format"], type=click.Choice(["text", "json"]), help="How to write to stderr.", **shared),
    ]


class _Commands(click.Group):
    """Imports a command's module only when that command runs: start-up time is a promise."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"fledge.cli.{cmd_name}").command
        for one in (command, *getattr(command, "commands", {}).values()):
            if not any(param.name == "log_format" for param in one.params):
                one.params += _global_options()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader of our output went away (`fledge inspect x | head`): no error of ours, but click exits with 1.
            discard(sys.stdout)
            return EXIT_OK

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, params=_global_options(), context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Turns an OCI image, a Dockerfile or plain binaries into a bootable microVM artifact and its manifest.json."""


def run() -> NoReturn:
    """The console script: runs the command and ends the process.

    Python would take a tree of a hundred thousand inodes apart one by one; the kernel frees it at once.
    """
    sys.stdout = results(sys.stdout)
    os._exit(main())


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns the exit code (spec section 1)."""
    terminal = Terminal()
    terminal.catch_signals()
    try:
        result: Any = cli.main(args=argv, prog_name="fledge", standalone_mode=False, obj=terminal)
        return result if isinstance(result, int) else EXIT_OK
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        place = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fledge"
        message = error.format_message().rstrip(".")
        terminal.error(message[:1].lower() + message[1:], hint=f"see '{place} --help'")
        return EXIT_USAGE if isinstance(error, click.UsageError) else EXIT_FAILED
    except ConfigError as error:
        for problem in error.problems:
            terminal.error(str(problem))
        return error.exit_code
    except FledgeError as error:
        terminal.error(error.message, hint=error.hint, transcript=error.transcript)
        return error.exit_code
    finally:
        terminal.close()


if __name__ == "__main__":
    run()
