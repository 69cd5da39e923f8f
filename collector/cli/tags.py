"""`collector tags …`: show the values of tags within their budgets, and remove values."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from collector.cli.commands import Commands
from collector.cli.common import fail, load_settings, say, worded_errors
from collector.schema.budgets import BUDGETS

commands = Commands(help="Show and remove the values of tags, which are limited by budgets.")


@commands.command(name="list", examples=["collector tags list", "collector tags list asl_version"])
def list_(
    tag: Annotated[str, typer.Argument(help="Show this tag's values too.")] = "",
) -> None:
    """Show how many values each tag has, and how many servers must report a new one.

    With TAG, list its values; `servers` counts distinct servers that reported the value within 7
    days. A value is open until 5 did, and open values are replaced first. docs/security.md has the
    rule.
    """
    from collector.tag_budget import FIRM_DAYS, servers_needed
    from collector.upgrade import migrated

    configured = load_settings()
    if tag and tag not in BUDGETS:
        fail(f"{tag} has no budget; those that have one: {', '.join(BUDGETS)}")
    with worded_errors():
        memory = migrated(configured.state_dir)
        values = memory.tags.values()
        since = int(time.time()) // 86_400 - FIRM_DAYS
        said = memory.tags.server_counts(since_day=since)
    for name, budget in BUDGETS.items():
        held = sum(item.tag == name for item in values)
        needed = servers_needed(held, budget)
        wants = "none is admitted" if needed is None else f"servers needed for a new one: {needed}"
        say(f"{name}: {held} of {budget} values; {wants}")
    for item in values:
        if item.tag == tag:
            servers = said.pop((tag, item.value), 0)
            say(f"  {item.value}" + ("" if item.firm else f" (open; servers: {servers})"))
    for (name, value), servers in sorted(said.items()):
        if name == tag:
            say(f"  {value} (stored as `other`; servers: {servers})")


@commands.command(examples=["collector tags forget distro Distro1 Distro2"])
def forget(
    tag: Annotated[str, typer.Argument(help="The tag.")],
    values: Annotated[list[str], typer.Argument(help="The values to remove.")],
) -> None:
    """Remove values from a tag's budget; a running collector notices within seconds.

    Stored reports are not changed. A removed value that is reported again counts as new.
    """
    from collector.upgrade import migrated

    configured = load_settings()
    if tag not in BUDGETS:
        fail(f"{tag} has no budget; those that have one: {', '.join(BUDGETS)}")
    with worded_errors():
        forgotten = migrated(configured.state_dir).tags.forget(tag, values)
    say(f"{forgotten} values of {tag} are removed")
