"""Admission rules: rate limits, and senders' addresses behind proxies. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Iterator, Sequence
from itertools import islice

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SECONDS_PER_HOUR = 3600
_SECONDS_PER_DAY = 86_400
_IPV6_SITE_BYTES = 8
_KEY_BYTES = 32
_MOST_BUCKETS = 200_000


class Buckets:
    """Token buckets by name: `per_hour` tokens an hour each, and as many in a burst; 0: no limit.

    Full buckets are discarded. At most `most` are stored: past that the oldest are discarded, so
    that memory stays bounded, though a client with so many names escapes the limit.
    """

    def __init__(self, *, per_hour: int, most: int = _MOST_BUCKETS) -> None:
        self._per_hour = per_hour
        self._rate = per_hour / _SECONDS_PER_HOUR
        self._most = most
        self._buckets: dict[bytes | str, tuple[float, float]] = {}
        self._swept = -math.inf

    def __len__(self) -> int:
        return len(self._buckets)

    def __iter__(self) -> Iterator[bytes | str]:
        return iter(self._buckets)

    def wait(self, name: bytes | str, now: float) -> int:
        """Take a token at `now` (s since 1970): 0, or the seconds to wait if there is none."""
        if not self._per_hour:
            return 0
        tokens = float(self._per_hour)
        if (found := self._buckets.get(name)) is not None:
            left, since = found
            tokens = min(tokens, left + max(0.0, now - since) * self._rate)
            if tokens < 1:
                return math.ceil((1 - tokens) / self._rate)
        self._buckets[name] = (tokens - 1, now)
        if len(self._buckets) > self._most or now - self._swept > _SECONDS_PER_HOUR:
            self._sweep(now)
        return 0

    def forget(self) -> None:
        """Discard all buckets."""
        self._buckets.clear()

    def _sweep(self, now: float) -> None:
        self._swept = now
        self._buckets = {
            key: (left, at)
            for key, (left, at) in self._buckets.items()
            if left + (now - at) * self._rate < self._per_hour
        }
        if len(self._buckets) > self._most:
            # Discard a tenth more than needed, so that not every new name causes a sweep.
            for key in list(islice(self._buckets, len(self._buckets) - self._most * 9 // 10)):
                del self._buckets[key]


class RateLimit:
    """Limits the reports from one address to `per_hour`, and as many in a burst; 0: no limit.

    Counts are in memory only, by a keyed digest of the address. The key changes each UTC day, so
    that counts of different days cannot be linked. An IPv6 /64 counts as one address.
    """

    def __init__(self, *, per_hour: int, secret: bytes) -> None:
        self._limits = per_hour > 0
        self._buckets = Buckets(per_hour=per_hour)
        self._secret = secret
        self._day = -1
        self._key = b""

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, address: str, now: float) -> int:
        """Count a report at `now` (s since 1970): 0, or the seconds to wait if it is refused.

        Text that is not an IP address is counted like an address.
        """
        if not self._limits:
            return 0
        if (day := int(now // _SECONDS_PER_DAY)) != self._day:
            self._day = day
            self._key = hashlib.blake2b(
                str(day).encode(), key=self._secret, digest_size=_KEY_BYTES
            ).digest()
            self._buckets.forget()
        name = hashlib.blake2b(site_of(address), key=self._key, digest_size=16).digest()
        return self._buckets.wait(name, now)


def sender_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of a request's sender.

    It is the peer's address or, behind trusted proxies, the one that they name in X-Forwarded-For
    (`forwarded_for`: the header's lines, in order; ports and quotes are ignored). The list is read
    from its end up to the first address that is not a trusted proxy: anything before that was
    written by the sender. Text that is not an address ends the search at the proxy that sent it.
    """
    address = peer
    if not is_within(peer, trusted):
        return address
    for text in reversed(",".join(forwarded_for).split(",")):
        named = _named_address(text)
        if named is None:
            return address
        address = named
        if not is_within(address, trusted):
            return address
    return address


def _named_address(text: str) -> str | None:
    """The address in one part of X-Forwarded-For: `A`, `A:PORT`, `[A]`, `[A]:PORT`, quoted or not.

    None for anything else.
    """
    plain = text.strip().strip('"').strip()
    if plain.startswith("["):
        plain = plain[1:].partition("]")[0]
    elif plain.count(":") == 1:
        plain = plain.partition(":")[0]
    try:
        return str(ipaddress.ip_address(plain))
    except ValueError:
        return None


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks; false for text that is not an address."""
    if not networks:
        return False
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in network for network in networks)


def site_of(address: str) -> bytes:
    """The unit that limits count by: an IPv4 address, an IPv6 /64, or other text as it is."""
    if ":" not in address:
        return address.encode()
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address.encode()
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped).encode()
    return found.packed[:_IPV6_SITE_BYTES]
