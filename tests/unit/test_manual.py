"""The manual page and the completions are those of the real commands."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from collector.cli.commands import examples_in
from collector.cli.exit_codes import ExitCode
from collector.settings import Settings, variable
from tests.command import command
from tests.sender import GUARD_S
from tools.manual import COMPLETIONS, commands, page, write

ROOT = Path(__file__).parents[2]
LONGEST = 76
"""Width of an example that an indented line of 80 columns holds."""
TYPED = {
    "bash": """
        source {file}
        COMP_WORDS=({words}) COMP_CWORD={at}
        _collector_completion collector
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        compdef() {{ : }}
        _arguments() {{ print -l -- "$@" }}
        source {file}
        words=({words}) CURRENT={at}+1
        _collector_completion
    """,
    "fish": """
        source {file}
        complete --do-complete "{words}"
    """,
}


def test_version_of_the_command_is_that_of_the_package() -> None:
    shown = command({}, "--version")
    assert (shown.code, shown.out) == (0, f"collector {version('usage-collector')}\n")


def test_every_command_has_examples_that_fit_a_terminal_of_80_columns() -> None:
    for found, context in commands():
        examples = examples_in(found.epilog)
        assert examples, f"{context.command_path} has no examples"
        for example in examples:
            assert len(example) <= LONGEST, example
            words = shlex.split(example, comments=True)
            assert context.command_path in " ".join(words), example
        shown = command({}, *context.command_path.split()[1:], "--help")
        assert "Examples:" in shown.out
        for example in examples:
            assert f"\n   {example} " in shown.out, f"{example}: broken or hidden"


def test_page_has_every_command_option_example_setting_and_exit_code() -> None:
    text = page()
    plain = re.sub(r"\\f[BIR]|\\&", "", text).replace(r"\-", "-").replace(r"\(aq", "'")
    for found, context in commands():
        assert f'.SS "{context.command_path} ' in plain
        for parameter in found.get_params(context):
            name = (parameter.get_help_record(context) or ("",))[0].replace("…", "...")
            assert name == "--help" or f"\n.TP\n{name}\n" in plain
        for example in examples_in(found.epilog):
            assert f"\n{example}\n" in plain
    for name in Settings.model_fields:
        assert f"\n.TP\n{variable(name)}\n" in plain
    for code in ExitCode:
        assert f"\n.TP\n{int(code)}\n" in plain


def test_roff_takes_the_page_without_a_warning(tmp_path: Path) -> None:
    if (groff := shutil.which("groff")) is None:
        pytest.skip("groff is not installed")
    write(tmp_path)
    done = subprocess.run(
        [groff, "-man", "-ww", "-z", tmp_path / "man" / "collector.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert (tmp_path / "man" / "usage-collector.1").read_text() == ".so man1/collector.1\n"


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_completion_offers_commands_and_options(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    write(tmp_path)
    file = tmp_path / "completions" / shell / COMPLETIONS[shell]
    offered = {
        line: typed(shell, file, line) for line in ("collector outbox d", "collector verify --r")
    }
    assert offered == {
        "collector outbox d": {"dead", "drop"},
        "collector verify --r": {"--repair"},
    }


def typed(shell: str, file: Path, line: str) -> set[str]:
    """What a shell offers for a line: the first word of each offer."""
    script = TYPED[shell].format(file=file, words=line, at=len(line.split()) - 1)
    done = subprocess.run(
        [shell, "-c", script],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    words = re.findall(r'(?:^|")(-*[a-z]+)(?:$|\t|":)', done.stdout, re.MULTILINE)
    assert words, done.stderr
    return set(words)


def test_every_exit_of_a_command_is_in_the_table() -> None:
    """The exit codes are those of the enumeration that docs/reference.md and the page show."""
    for path in (ROOT / "collector" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.Exit", "sys.exit"}:
                (status,) = node.args
                assert set(re.findall(r"[\w.]*\d+|ExitCode\.\w+", ast.unparse(status))) <= {
                    f"ExitCode.{code.name}" for code in ExitCode
                }, f"{path}:{node.lineno}"


def test_wrong_arguments_and_settings_exit_with_2() -> None:
    for environment, line in (
        ({}, ["rollup"]),
        ({}, ["no-such-command"]),
        ({"COLLECTOR_WORKERS": "many"}, ["check"]),
    ):
        assert command(environment, *line).code == ExitCode.WRONG_SETTING


def test_interrupted_command_exits_with_130(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "collector", "import", "asl3-usage", "--dump", "-"],
        cwd=ROOT,
        env=os.environ | {"COLLECTOR_STATE_DIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        # More than a pipe holds: once it is written, the command is reading.
        process.stdin.write(b"-- a dump\n" * 20_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=GUARD_S) == ExitCode.INTERRUPTED
