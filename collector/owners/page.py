"""The page at /my-data: what the four addresses do. No script, nothing from another host."""

from __future__ import annotations

from html import escape
from typing import Final

TITLE: Final = "My data"
INTRODUCTION: Final = (
    "Whoever runs a server can see what is held of it, have it erased, or be left out. There is no"
    " account and no form: the proof that a server is yours is the report that it sends, so run"
    " its own client once, with another address. Put the name of this site for HOST."
)
COMMANDS: Final = (
    (
        "Show",
        "asl-telemetry -u https://HOST/v1/my-data",
        "Prints how many reports are held, from when to when, where, and when each is deleted."
        " Reports with the same kernel and packages as the one you send are shown whole; others"
        " are only counted, because a UUID alone is no secret.",
    ),
    (
        "Erase",
        "asl-telemetry -u https://HOST/v1/my-data/erase",
        "Deletes every raw report of your server, in the database and on its way there, looks"
        " again until nothing is left, and prints a receipt. The daily counts that are published"
        " stay: they hold no one's identity.",
    ),
    (
        "Opt out",
        "asl-telemetry -u https://HOST/v1/my-data/opt-out",
        "Erases, and drops what your server sends from then on. What is kept to remember that is"
        " a keyed digest, under which no report was ever stored.",
    ),
    (
        "Opt in",
        "asl-telemetry -u https://HOST/v1/my-data/opt-in",
        "Ends an opt-out.",
    ),
)
NOTES: Final = (
    "Where the database is away, or many ask at once, your wish is remembered and done later; the"
    " answer says so.",
    "Programs that send Accept: application/json get JSON.",
)


def page() -> str:
    """The page."""
    sections = "\n".join(
        f"<section><h2>{escape(name)}</h2><pre><code>{escape(command)}</code></pre>"
        f"<p>{escape(words)}</p></section>"
        for name, command, words in COMMANDS
    )
    notes = "\n".join(f"<p>{escape(words)}</p>" for words in NOTES)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE)}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ max-width: 42rem; margin: 2rem auto; padding: 0 1rem; }}
pre {{ overflow-x: auto; padding: .5rem; border: 1px solid; }}
</style>
</head>
<body>
<main>
<h1>{escape(TITLE)}</h1>
<p>{escape(INTRODUCTION)}</p>
{sections}
{notes}
</main>
</body>
</html>
"""


PAGE: Final = page()
