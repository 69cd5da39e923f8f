"""Parser for dumps of mysqldump and mariadb-dump, which needs no database server.

The file is streamed: memory is bounded by the longest literal. It supports the SQL that these
programs write: https://mariadb.com/kb/en/mariadb-dump/ and, for literals,
https://mariadb.com/kb/en/string-literals/.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final, NamedTuple, TextIO

Row = dict[str, str | None]
"""One row: values as text by column name in lower case; NULL is None."""

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
    # Escapes for LIKE patterns: elsewhere the backslash is literal.
    "%": r"\%",
    "_": r"\_",
}
_NO_COLUMN: Final = re.compile(
    "PRIMARY|KEY|UNIQUE|CONSTRAINT|INDEX|FULLTEXT|SPATIAL|CHECK|FOREIGN|PERIOD", re.IGNORECASE
)
"""Words that begin items of CREATE TABLE that are not columns."""
_INSERT_OPTIONS: Final = frozenset(["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"])


class DumpError(Exception):
    """The dump is incomplete or not supported; the text gives the reason."""


class _Token(NamedTuple):
    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.upper() == word


_END: Final = _Token("end", "")


def dump_rows(file: TextIO, tables: Container[str]) -> Iterator[tuple[str, Row]]:
    """Yield each row of `tables` with the table's name, in the order of the file.

    A dump of several databases must hold each table once. Raises DumpError, also if the file ends
    within a statement: a truncated dump would look like a smaller network.
    """
    return _Dump(file, tables).rows()


class _Dump:
    def __init__(self, file: TextIO, tables: Container[str]) -> None:
        self._tokens = _tokens(file)
        self._tables = tables
        self._columns: dict[tuple[str, str], list[str]] = {}
        self._database = ""
        self._databases: dict[str, str] = {}
        self._current = _END
        self._next()

    def _next(self) -> _Token:
        """Advance, and return the previous token."""
        before, self._current = self._current, next(self._tokens, _END)
        return before

    def _within(self) -> _Token:
        """Advance within a statement. Raises DumpError at the end of the file."""
        token = self._next()
        if token is _END:
            raise DumpError("the dump ends within a statement: it is not whole")
        return token

    def rows(self) -> Iterator[tuple[str, Row]]:
        while self._current is not _END:
            token = self._next()
            if token == _Token("mark", ";"):
                continue
            verb = token.text.upper() if token.kind == "word" else ""
            if verb in ("INSERT", "REPLACE"):
                yield from self._insert()
            elif verb == "CREATE" and self._current.is_word("TABLE"):
                self._create()
            elif verb == "USE":
                self._database = _name(self._next())
            elif verb == "DELIMITER":
                # The body of a stored routine is not executed when the dump is loaded.
                while self._current is not _END and not self._current.is_word("DELIMITER"):
                    self._next()
                self._next()
            while self._within() != _Token("mark", ";"):
                pass

    def _table(self) -> tuple[str, str]:
        """Parse the database and the name of a table; either may be quoted."""
        first = self._next()
        parts = first.text.split(".") if first.kind == "word" else [_name(first)]
        if self._current.kind == "word" and self._current.text.startswith("."):
            parts.append(self._next().text[1:])
        if not parts[-1]:
            parts[-1] = _name(self._next())
        return (parts[0] if len(parts) > 1 else self._database), parts[-1]

    def _create(self) -> None:
        self._next()
        if self._current.is_word("IF"):
            for _ in ["IF", "NOT", "EXISTS"]:
                self._next()
        table = self._table()
        if table[1] not in self._tables or self._current != _Token("mark", "("):
            return
        self._next()
        columns: list[str] = []
        while True:
            first = self._next()
            if first.kind != "word" or not _NO_COLUMN.fullmatch(first.text):
                columns.append(_name(first).lower())
            if self._item(first) == ")":
                break
        self._columns[table] = columns

    def _item(self, first: _Token) -> str:
        """Skip the rest of a list item; return the mark after it, `,` or `)`."""
        depth = 0
        token = first
        while depth or token.kind != "mark" or token.text not in ",)":
            if token == _Token("mark", "("):
                depth += 1
            elif token == _Token("mark", ")"):
                depth -= 1
            token = self._within()
        return token.text

    def _insert(self) -> Iterator[tuple[str, Row]]:
        while self._current.kind == "word" and self._current.text.upper() in _INSERT_OPTIONS:
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
        if not (self._current.is_word("VALUES") or self._current.is_word("VALUE")):
            raise DumpError(f"rows of `{table}` are not given as VALUES")
        self._next()
        while self._current == _Token("mark", "("):
            self._next()
            values = list(self._values(table))
            if len(values) != len(columns):
                raise DumpError(
                    f"a row of `{table}` has {len(values)} values for {len(columns)} columns"
                )
            yield table, dict(zip(columns, values, strict=True))
            if self._current == _Token("mark", ","):
                self._next()

    def _insert_columns(self) -> list[str]:
        """Parse the column names of an INSERT; [] if it has none."""
        columns: list[str] = []
        if self._current == _Token("mark", "("):
            while self._current is not _END and self._next().text != ")":
                columns.append(_name(self._next()).lower())
        return columns

    def _values(self, table: str) -> Iterator[str | None]:
        while True:
            tokens: list[_Token] = []
            while (token := self._within()).kind != "mark" or token.text not in ",)":
                tokens.append(token)
            yield _literal(tokens, table)
            if token.text == ")":
                return


def _tokens(file: TextIO) -> Iterator[_Token]:
    text, at, ended = "", 0, False
    while True:
        found = _TOKEN.match(text, at)
        # A token that ends with the buffer may continue in the next chunk.
        if found is not None and (ended or found.end() < len(text)):
            at = found.end()
            if found.lastgroup != "gap":
                yield _Token(str(found.lastgroup), found[0])
        elif not ended:
            # The buffer doubles, so that a long literal is not scanned too often.
            more = file.read(max(_CHUNK, len(text) - at))
            text, at, ended = text[at:] + more, 0, not more
        elif at < len(text):
            raise DumpError("the dump ends within a literal or a comment: it is not whole")
        else:
            return


def _name(token: _Token) -> str:
    """An identifier without its quotes (double quotes in ANSI mode)."""
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
    raise DumpError(f"a value of `{table}` is not a literal")


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
        raise DumpError(f"a value of `{table}` is not a literal") from None
