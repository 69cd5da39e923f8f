"""Rows of tables in a file that mysqldump or mariadb-dump wrote, read without a server.

The file is streamed: no more of it is held than the longest literal. What is understood of SQL is
what these programs write: https://mariadb.com/kb/en/mariadb-dump/ and, for literals,
https://mariadb.com/kb/en/string-literals/.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final, NamedTuple, TextIO

Row = dict[str, str | None]
"""One row: its columns' names in lower case, and each value as text, None for NULL."""

_CHUNK: Final = 1 << 16
_TOKEN: Final = re.compile(
    r"""
      (?P<gap>\s+ | \#[^\n]* | --(?=\s|\Z)[^\n]* | /\*.*?\*/)
    | (?P<string>'[^'\\]*(?:(?:\\.|'')[^'\\]*)*' | "[^"\\]*(?:(?:\\.|"")[^"\\]*)*")
    | (?P<name>`[^`]*(?:``[^`]*)*`)
    | (?P<word>[\w$.@:+-]+)
    | (?P<mark>[^'"`/] | /(?!\*))
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
_ESCAPED: Final = {
    "0": "\0",
    "b": "\b",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "Z": "\x1a",
    # Patterns of LIKE: outside of one, the backslash stays.
    "%": r"\%",
    "_": r"\_",
}
_NO_COLUMNS: Final = frozenset(
    [
        "PRIMARY",
        "KEY",
        "UNIQUE",
        "CONSTRAINT",
        "INDEX",
        "FULLTEXT",
        "SPATIAL",
        "CHECK",
        "FOREIGN",
        "PERIOD",
    ]
)
"""Words that begin an item of CREATE TABLE that is no column."""
_INSERT_OPTIONS: Final = frozenset(["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"])


class DumpError(Exception):
    """The file is not a whole dump that can be understood; the text says why."""


class _Token(NamedTuple):
    kind: str
    text: str

    def says(self, word: str) -> bool:
        return self.kind == "word" and self.text.upper() == word


_END: Final = _Token("end", "")


def dump_rows(file: TextIO, tables: Container[str]) -> Iterator[tuple[str, Row]]:
    """The rows of `tables` with their table's name, in the order of the file.

    A dump of several databases must hold each table once. Raises DumpError, also where the file
    ends within a statement: a dump cut short would pass for a smaller fleet.
    """
    return _Dump(file, tables).rows()


class _Dump:
    def __init__(self, file: TextIO, tables: Container[str]) -> None:
        self._tokens = _tokens(file)
        self._tables = tables
        self._columns: dict[tuple[str, str], list[str]] = {}
        self._database = ""
        self._databases: dict[str, str] = {}
        self._now = _END
        self._next()

    def _next(self) -> _Token:
        """Move on, and return the token left behind."""
        before, self._now = self._now, next(self._tokens, _END)
        return before

    def rows(self) -> Iterator[tuple[str, Row]]:
        while self._now is not _END:
            match self._next():
                case _Token("word", text):
                    verb = text.upper()
                case _Token("mark", ";"):
                    continue
                case _:
                    verb = ""
            if verb in ("INSERT", "REPLACE"):
                yield from self._insert()
            elif verb == "CREATE" and self._now.says("TABLE"):
                self._create()
            elif verb == "USE":
                self._database = _name(self._next())
            elif verb == "DELIMITER":
                # A stored routine: what stands in it is not done by loading the dump.
                while self._now is not _END and not self._now.says("DELIMITER"):
                    self._next()
                self._next()
            self._finish()

    def _finish(self) -> None:
        while self._now != _Token("mark", ";"):
            if self._now is _END:
                raise DumpError("the dump ends within a statement: it is not whole")
            self._next()
        self._next()

    def _table(self) -> tuple[str, str]:
        """Database and name of a table, whichever of the two stands in quotes."""
        first = self._next()
        parts = first.text.split(".") if first.kind == "word" else [_name(first)]
        if self._now.kind == "word" and self._now.text.startswith("."):
            parts.append(self._next().text[1:])
        if not parts[-1]:
            parts[-1] = _name(self._next())
        return (parts[0] if len(parts) > 1 else self._database), parts[-1]

    def _create(self) -> None:
        self._next()
        if self._now.says("IF"):
            for _ in ["IF", "NOT", "EXISTS"]:
                self._next()
        table = self._table()
        if table[1] not in self._tables or self._now != _Token("mark", "("):
            return
        self._next()
        columns: list[str] = []
        while True:
            first = self._next()
            if first.kind != "word" or first.text.upper() not in _NO_COLUMNS:
                columns.append(_name(first).lower())
            if self._item(first) == ")":
                break
        self._columns[table] = columns

    def _item(self, first: _Token) -> str:
        """Pass over the rest of an item in a list; the mark after it, `,` or `)`."""
        depth = 0
        token = first
        while depth or token.kind != "mark" or token.text not in ",)":
            if token == _Token("mark", "("):
                depth += 1
            elif token == _Token("mark", ")"):
                depth -= 1
            elif token is _END:
                raise DumpError("the dump ends within a statement: it is not whole")
            token = self._next()
        return token.text

    def _insert(self) -> Iterator[tuple[str, Row]]:
        while self._now.kind == "word" and self._now.text.upper() in _INSERT_OPTIONS:
            self._next()
        database, table = self._table()
        if table not in self._tables:
            return
        if self._databases.setdefault(table, database) != database:
            raise DumpError(f"the dump has `{table}` of several databases; dump one of them")
        columns = self._insert_columns() or self._columns.get((database, table))
        if columns is None:
            raise DumpError(
                f"the dump does not name the columns of `{table}`: "
                "make it without --no-create-info, or with --complete-insert"
            )
        if not (self._now.says("VALUES") or self._now.says("VALUE")):
            raise DumpError(f"rows of `{table}` are not given as VALUES")
        self._next()
        while self._now == _Token("mark", "("):
            self._next()
            values = list(self._values(table))
            if len(values) != len(columns):
                raise DumpError(
                    f"a row of `{table}` has {len(values)} values for {len(columns)} columns"
                )
            yield table, dict(zip(columns, values, strict=True))
            if self._now == _Token("mark", ","):
                self._next()

    def _insert_columns(self) -> list[str]:
        """The columns that an INSERT names, if it does."""
        columns: list[str] = []
        if self._now == _Token("mark", "("):
            while self._now is not _END and self._next().text != ")":
                columns.append(_name(self._next()).lower())
        return columns

    def _values(self, table: str) -> Iterator[str | None]:
        while True:
            tokens: list[_Token] = []
            while (token := self._next()).kind != "mark" or token.text not in ",)":
                if token is _END:
                    raise DumpError("the dump ends within a statement: it is not whole")
                tokens.append(token)
            yield _literal(tokens, table)
            if token.text == ")":
                return


def _tokens(file: TextIO) -> Iterator[_Token]:
    text, at, ended = "", 0, False
    while True:
        found = _TOKEN.match(text, at)
        # What reaches the end of what was read may go on after it.
        if found is not None and (ended or found.end() < len(text)):
            at = found.end()
            if found.lastgroup != "gap":
                yield _Token(str(found.lastgroup), found[0])
        elif not ended:
            # As much again as is held, so that a long literal is not scanned too often.
            more = file.read(max(_CHUNK, len(text) - at))
            text, at, ended = text[at:] + more, 0, not more
        elif at < len(text):
            raise DumpError("the dump ends within a literal or a comment: it is not whole")
        else:
            return


def _name(token: _Token) -> str:
    """An identifier, its quotes taken off (double ones where the dump is in ANSI's dialect)."""
    if token.kind in ("name", "string"):
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote)
    return token.text


def _literal(tokens: list[_Token], table: str) -> str | None:
    match tokens:
        case [_Token("string", text)]:
            return _unescaped(text)
        case [_Token("word", word)] if word.upper() == "NULL":
            return None
        case [_Token("word", word)] if word[:2].lower() == "0x":
            return _from_hex(word[2:], table)
        case [_Token("word", word)]:
            return word
        case [_Token("word", "x" | "X"), _Token("string", text)]:
            return _from_hex(text[1:-1], table)
        case [_Token("word", word), _Token("string", text)] if word[0] == "_" or word in ("N", "n"):
            return _unescaped(text)
    raise DumpError(f"a value of `{table}` is no literal")


def _unescaped(text: str) -> str:
    quote = text[0]

    def plain(found: re.Match[str]) -> str:
        if found[1] is not None:
            return _ESCAPED.get(found[1], found[1])
        return quote if found[0] == quote * 2 else found[0]

    return _ESCAPE.sub(plain, text[1:-1])


def _from_hex(digits: str, table: str) -> str:
    try:
        return bytes.fromhex(digits).decode(errors="replace")
    except ValueError:
        raise DumpError(f"a value of `{table}` is no literal") from None
