"""Dumps as mysqldump, mariadb-dump and their options write them, read without a server."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.history import asl3_dump
from collector.history.asl3_dump import DumpError, Row, dump_rows

TABLES = ("t", "nodes")
CREATE = "CREATE TABLE `t` (`a` int(11) NOT NULL, `B` varchar(50) DEFAULT 'x,)y', KEY (`a`));"


def rows(text: str) -> list[tuple[str, Row]]:
    return list(dump_rows(io.StringIO(text), TABLES))


def values(literal: str) -> str | None:
    [(_, row)] = rows(f"{CREATE}\nINSERT INTO `t` VALUES (1,{literal});\n")
    assert row["a"] == "1"
    return row["b"]


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("'plain'", "plain"),
        ("''", ""),
        ("'it''s'", "it's"),
        (r"'it\'s'", "it's"),
        (r"'a\nb\r\t\0\Z\b'", "a\nb\r\t\0\x1a\b"),
        (r"'\\n'", r"\n"),
        (r"'\\'", "\\"),
        (r"'\%\_\q'", r"\%\_q"),
        ('\'say "hi" ""\'', 'say "hi" ""'),
        ('"it\'s "" so"', "it's \" so"),
        ("'),(2,''x'');'", "),(2,'x');"),
        ("'-- no comment # /* nor this'", "-- no comment # /* nor this"),
        ("'new\nline'", "new\nline"),
        ("'Grüße 📻'", "Grüße 📻"),
        ("NULL", None),
        ("null", None),
        ("-12", "-12"),
        ("1.5e3", "1.5e3"),
        ("TRUE", "TRUE"),
        ("0x4265", "Be"),
        ("x'4265'", "Be"),
        ("X''", ""),
        ("_binary 'Be'", "Be"),
        ("_utf8mb4'Be'", "Be"),
        ("N'Be'", "Be"),
        ("0xFF", "\ufffd"),
        (" /* a comment */ 'x' -- another", "x -- another"),
    ],
)
def test_literal_is_read_as_the_server_reads_it(literal: str, expected: str | None) -> None:
    if "--" in literal and "comment */" in literal:
        assert values(literal + "\n") == "x"
    else:
        assert values(literal) == expected


@pytest.mark.parametrize("literal", ["now()", "'a' 'b' 'c'", "0x4", "x'zz'", "@v + 1", "(1)", ""])
def test_what_is_no_literal_is_an_error(literal: str) -> None:
    with pytest.raises(DumpError, match=r"not a literal|values for"):
        values(literal)


def test_columns_come_from_create_table_whatever_else_it_holds() -> None:
    text = """
    CREATE TABLE IF NOT EXISTS `db`.`t` (
      `id` int(11) NOT NULL AUTO_INCREMENT COMMENT 'a, b (c) ;',
      price decimal(10,2) unsigned /*!80023 INVISIBLE */,
      "quoted" enum('a','b)') CHECK (json_valid(`quoted`)),
      PRIMARY KEY (`id`,`price`), UNIQUE KEY `u` (`price`), CONSTRAINT `c` CHECK (`id` > 0),
      FULLTEXT KEY `f` (`quoted`), INDEX `i` (`id`), FOREIGN KEY (`id`) REFERENCES x (`y`)
    ) ENGINE=InnoDB;
    INSERT INTO db.t VALUES (1,2,'a');
    INSERT INTO `db`.t VALUES (2,2,'a');
    INSERT INTO db.`t` VALUES (3,2,'a');
    """
    found = rows(text)
    assert [row["id"] for _, row in found] == ["1", "2", "3"]
    assert found[0] == ("t", {"id": "1", "price": "2", "quoted": "a"})


def test_columns_of_a_complete_insert_win() -> None:
    text = CREATE + "REPLACE DELAYED INTO t (`b`, \"A\") VALUES ('x',1),('y',2);"
    assert rows(text) == [("t", {"b": "x", "a": "1"}), ("t", {"b": "y", "a": "2"})]


def test_insert_without_any_columns_says_how_to_dump() -> None:
    with pytest.raises(DumpError, match="--complete-insert"):
        rows("INSERT INTO `t` VALUES (1,2);")


def test_rows_that_are_not_values_are_an_error() -> None:
    with pytest.raises(DumpError, match="VALUES"):
        rows(CREATE + "INSERT INTO t SELECT * FROM u;")


def test_row_of_another_length_is_an_error() -> None:
    with pytest.raises(DumpError, match="3 values for 2 columns"):
        rows(CREATE + "INSERT INTO t VALUES (1,2,3);")


def test_other_tables_and_statements_are_passed_over() -> None:
    text = f"""
    /*M!999999\\- enable the sandbox mode */
    -- a comment; with a semicolon's quote
    # another one's
    /*!40101 SET NAMES utf8mb4 */;
    CREATE DATABASE /*!32312 IF NOT EXISTS*/ `db`; USE `db`;
    CREATE TABLE `other` (`a` int); CREATE VIEW v AS SELECT 1;
    INSERT INTO `other` VALUES (1),(2);
    {CREATE}
    LOCK TABLES `t` WRITE;
    INSERT IGNORE INTO `t` VALUES (1,'x')
      ON DUPLICATE KEY UPDATE b = 'y';
    UNLOCK TABLES;
    """
    assert rows(text) == [("t", {"a": "1", "b": "x"})]


def test_inserts_of_stored_routines_are_not_rows() -> None:
    text = (
        CREATE
        + """
    DELIMITER ;;
    CREATE DEFINER=`root`@`%` PROCEDURE p() BEGIN
      INSERT INTO t VALUES (9,'no'); INSERT INTO t VALUES (8,@x);
    END ;;
    DELIMITER ;
    INSERT INTO t VALUES (1,'yes');
    """
    )
    assert rows(text) == [("t", {"a": "1", "b": "yes"})]


def test_table_of_two_databases_is_an_error() -> None:
    one = CREATE + "INSERT INTO t VALUES (1,'x');"
    assert len(rows(f"USE a; {one}")) == 1
    with pytest.raises(DumpError, match="several databases"):
        rows(f"USE a; {one} USE b; {one}")


WHOLE = CREATE + "\nINSERT INTO `t` VALUES (1,'it''s'),(2,'\\'');"


@pytest.mark.parametrize("end", range(len(WHOLE) - 1, 0, -1))
def test_dump_cut_short_anywhere_within_a_statement_is_an_error(end: int) -> None:
    if end == len(CREATE) or WHOLE[:end] == CREATE + "\n":
        assert rows(WHOLE[:end]) == []
        return
    with pytest.raises(DumpError, match=r"not whole|as VALUES"):
        rows(WHOLE[:end])


def test_empty_file_has_no_rows() -> None:
    assert rows("") == []


def escaped(text: str | None) -> str:
    """As mysql_real_escape_string does it."""
    if text is None:
        return "NULL"
    table = {"\\": r"\\", "'": r"\'", '"': r"\"", "\n": r"\n", "\r": r"\r", "\0": r"\0"}
    return "'" + "".join(table.get(c, r"\Z" if c == "\x1a" else c) for c in text) + "'"


TEXTS = st.lists(st.none() | st.text(max_size=20), max_size=20)


@given(texts=TEXTS, chunk=st.integers(1, 40))
def test_any_text_survives_whatever_is_read_at_once(texts: list[str | None], chunk: int) -> None:
    given_rows = ",\n".join(f"({n},{escaped(text)})" for n, text in enumerate(texts))
    text = CREATE + (f"INSERT INTO `t` VALUES {given_rows};" if texts else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asl3_dump, "_CHUNK", chunk)
        found = rows(text)
    assert found == [("t", {"a": str(n), "b": text}) for n, text in enumerate(texts)]
