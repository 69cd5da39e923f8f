"""Generator of the manual page and the shell completions: `python -m tools.manual DIRECTORY`.

They are made from the commands, the settings and the exit codes themselves and are stored nowhere
in the repository: a package is built with what its own version says. DIRECTORY gets

    man/collector.1, man/usage-collector.1      the page, and the same by the package's name
    completions/bash/collector                  for /usr/share/bash-completion/completions
    completions/zsh/_collector                  for /usr/share/zsh/vendor-completions
    completions/fish/collector.fish             for /usr/share/fish/vendor_completions.d
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from collector.cli import cli
from collector.cli.commands import examples_in
from collector.cli.exit_codes import MEANINGS
from collector.settings import Settings, default_of, variable

NAME: Final = "collector"
PACKAGE: Final = "usage-collector"
COMPLETIONS: Final = {"bash": NAME, "zsh": f"_{NAME}", "fish": f"{NAME}.fish"}
"""For each shell the name of the file that it looks for."""

_FILES: Final = (
    (
        "/etc/collector/collector.env",
        "The settings of the service, as NAME=VALUE. A command that is run by hand takes them from"
        " its own environment; the command of Debian's package takes from here what is not there.",
    ),
    (
        "/var/lib/collector",
        "The state of the service: the outbox, choices of owners, the pseudonym key.",
    ),
)
# Loaded by itself at the first Tab, the file has to answer that Tab too.
_ZSH_FIRST_TAB: Final = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _collector_completion "$@"
fi
"""


def write(directory: Path) -> None:
    """Write the manual pages and the completions into a directory, which is made if missing."""
    pages = directory / "man"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / f"{NAME}.1").write_text(page(), encoding="utf-8")
    (pages / f"{PACKAGE}.1").write_text(f".so man1/{NAME}.1\n", encoding="utf-8")
    for shell, file in COMPLETIONS.items():
        path = directory / "completions" / shell / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(completion(shell), encoding="utf-8")


def completion(shell: str) -> str:
    """The completion script of a shell, as the command itself gives it."""
    done = subprocess.run(
        [sys.executable, "-m", "collector"],
        env=os.environ | {"_COLLECTOR_COMPLETE": f"source_{shell}"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    script = done.stdout.strip() + "\n"
    return script + _ZSH_FIRST_TAB if shell == "zsh" else script


def commands() -> Iterator[tuple[TyperCommand, typer.Context]]:
    """Each command that help shows, with a context that knows its whole name."""
    top = get_command(cli)
    if not isinstance(top, TyperGroup):
        raise TypeError("the command is no group of commands")
    yield from _below(top, typer.Context(top, info_name=NAME))


def _below(group: TyperGroup, above: typer.Context) -> Iterator[tuple[TyperCommand, typer.Context]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = typer.Context(command, info_name=name, parent=above)
        if isinstance(command, TyperGroup):
            yield from _below(command, context)
        elif isinstance(command, TyperCommand):
            yield command, context


def page() -> str:
    """The manual page collector(1), in the macros of man(7)."""
    parts = [
        f'.TH {NAME.upper()} 1 "" "{_text(PACKAGE)} {version(PACKAGE)}" "User Commands"',
        ".SH NAME",
        rf"{NAME} \- {_text(str(get_command(cli).help)).rstrip('.')}",
        ".SH SYNOPSIS",
        f".B {NAME}\n.I COMMAND\n.RI [ OPTIONS ]",
        ".SH DESCRIPTION",
        "Each command takes its settings from the environment, see\n.BR ENVIRONMENT .",
        "Dates are YYYY\\-MM\\-DD, today or yesterday, in UTC; both ends are included.",
        ".SH OPTIONS",
        _item(r"\fB\-\-version\fR", "Show the version and exit."),
        ".SH COMMANDS",
        *(_command(command, context) for command, context in commands()),
        ".SH ENVIRONMENT",
        *(_setting(name) for name in Settings.model_fields),
        ".SH FILES",
        *(_item(rf"\fI{_text(path)}\fR", meaning) for path, meaning in _FILES),
        ".SH EXIT STATUS",
        *(_item(rf"\fB{int(code)}\fR", f"{meaning}.") for code, meaning in MEANINGS.items()),
    ]
    return "\n".join(parts) + "\n"


def _command(command: TyperCommand, context: typer.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    paragraphs = "\n.PP\n".join(_text(part) for part in str(command.help).split("\n\n"))
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    items = [_item(rf"\fB{_text(name)}\fR", text) for name, text in filter(None, records) if text]
    lines = [f'.SS "{_text(usage)}"', paragraphs, *items]
    if examples := examples_in(command.epilog):
        lines += [".PP", "Examples:", ".PP", ".RS 4", ".nf", *map(_text, examples), ".fi", ".RE"]
    return "\n".join(lines)


def _setting(name: str) -> str:
    default = default_of(name)
    words = f"{Settings.model_fields[name].description} Default: {default or 'empty'}."
    return _item(rf"\fB{_text(variable(name))}\fR", words)


def _item(term: str, text: str) -> str:
    return f".TP\n{term}\n{_text(' '.join(text.split()))}"


def _text(words: str) -> str:
    """Escape what roff would take for requests or typographic signs."""
    escaped = words.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = escaped.replace('"', r"\(dq").replace("`", r"\(ga").replace("…", "...")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    write(Path(sys.argv[1]))
