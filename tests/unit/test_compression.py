"""Pieces of a body compressed separately, and the bounded cache of them."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.public.cache import PieceCache
from collector.public.compression import Gzip, Piece

BODIES = st.lists(st.binary(max_size=300) | st.integers(1, 70_000).map(lambda n: b"row\n" * n))


@given(bodies=BODIES)
def test_pieces_packed_apart_are_one_gzip_stream_of_the_whole(bodies: list[bytes]) -> None:
    stream = Gzip()
    packed = Gzip.head + b"".join(stream.add(Piece.of(body)) for body in bodies) + stream.end()
    # One member, which is all that many a reader reads.
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(packed) == b"".join(bodies)
    assert reader.eof
    assert not reader.unused_data
    assert gzip.decompress(packed) == b"".join(bodies)


@given(body=st.binary(max_size=300))
def test_a_piece_unpacks_to_what_it_was_made_of(body: bytes) -> None:
    assert Piece.of(body).decompressed() == body


def test_a_wrong_byte_in_a_piece_is_not_taken_for_right() -> None:
    stream, piece = Gzip(), Piece.of(b"one,two\n" * 50)
    other = Piece(Piece.of(b"one,too\n" * 50).blocks, piece.crc, piece.length, piece.shift)
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(Gzip.head + stream.add(other) + stream.end())


def test_pieces_of_another_revision_are_dropped() -> None:
    cache, piece = PieceCache(1 << 20), Piece.of(b"a")
    assert cache.get("first", "key") is None
    cache.put("first", "key", piece)
    assert cache.get("first", "key") is piece
    assert cache.get("second", "key") is None
    assert cache.get("first", "key") is None
    assert cache.size == 0


def test_piece_made_of_a_series_that_has_changed_since_is_not_cached() -> None:
    cache = PieceCache(1 << 20)
    assert cache.get("first", "key") is None
    assert cache.get("second", "key") is None
    cache.put("first", "key", Piece.of(b"a"))
    assert cache.get("second", "key") is None
    assert cache.size == 0


def test_bound_of_memory_holds_and_what_was_asked_for_last_stays() -> None:
    random = [Piece.of(zlib.compress(bytes([n]) * 3, 0) + bytes(range(256)) * 8) for n in range(50)]
    each = len(random[0].blocks) + 2048
    cache = PieceCache(10 * each + each // 2)
    assert cache.get("now", 0) is None
    for number, piece in enumerate(random):
        cache.put("now", number, piece)
        cache.put("now", number, piece)
        assert cache.get("now", 0) is random[0]
        assert cache.size <= 10 * each + each // 2
    assert [n for n in range(50) if cache.get("now", n)] == [0, *range(41, 50)]


def test_piece_that_alone_takes_too_much_is_not_cached() -> None:
    cache = PieceCache(2048)
    assert cache.get("now", 1) is None
    cache.put("now", 1, Piece.of(b"a"))
    assert cache.get("now", 1) is None
