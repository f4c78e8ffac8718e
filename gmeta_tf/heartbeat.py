"""Tells a rank that is stopped from one that is busy: each sends rank 0 a datagram now and then,
and rank 0 answers.

A rank that computes, traces or waits still answers, since a thread of its own does so; one that is
stopped, or whose host is gone, does not. A rank that was never heard of (datagrams may be blocked
between hosts) is never called silent, nor is one that took its leave.
"""

import os
import secrets
import socket
import time

LAUNCHER_VARIABLE = "HOROVOD_GLOO_RENDEZVOUS_ADDR"
TOKEN_BYTES, RANK_BYTES, LEAVING = 8, 4, b"leaving"
EVERY = 1.0  # seconds


class Heartbeat:
    """One rank's end. Rank 0 makes it without an address; the others take rank 0's `address`.

    Args:
      rank: this rank.
      one_host: whether all ranks run on this host.
      address: "host port token" of rank 0, as its `address` says.
    """

    def __init__(self, rank: int, *, one_host: bool, address: str | None = None):
        self.rank = rank
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.heard: dict[int, float] = {}  # rank -> when
        self._addresses: dict[int, tuple[str, int]] = {}  # of those heard
        self._gone: set[int] = set()
        self._beat = self._looked = time.monotonic()
        if address is None:
            self.socket.bind(("127.0.0.1" if one_host else "", 0))
            host = "127.0.0.1" if one_host else _own_address()
            self.address = f"{host} {self.socket.getsockname()[1]} {secrets.token_hex(TOKEN_BYTES)}"
        else:
            self.address = address
        host, port, token = self.address.split()
        self._home, self._token = (host, int(port)), bytes.fromhex(token)

    def beat(self):
        """Sends what is due and takes in what came; to be called more often than once a second."""
        now = time.monotonic()
        if (
            now - self._looked > 5 * EVERY
        ):  # this process itself was stopped: the others' silence says nothing
            self.heard = dict.fromkeys(self.heard, now)
        self._looked = now
        if self.rank and now - self._beat >= EVERY:
            self._send(self._home)
            self._beat = now
        while message := self._receive():
            sender, back, leaving = message
            if leaving:
                self._gone.add(sender)
                self.heard.pop(sender, None)
            if sender in self._gone:
                continue
            self.heard[sender], self._addresses[sender] = now, back
            if self.rank == 0:
                self._send(back)

    def silent(self, seconds: float) -> int | None:
        """A rank that was heard before and not for so long, or None."""
        now = time.monotonic()
        return next(
            (rank for rank, when in sorted(self.heard.items()) if now - when > seconds), None
        )

    def leave(self):
        """Tells rank 0, or as rank 0 all who were heard, that this rank's silence means nothing
        from here on.
        """
        for to in [self._home] if self.rank else list(self._addresses.values()):
            self._send(to, LEAVING)

    def _send(self, to, what=b""):
        try:
            self.socket.sendto(self._token + self.rank.to_bytes(RANK_BYTES, "big") + what, to)
        except OSError:
            return  # a lost datagram is a missed beat

    def _receive(self):
        """(sender's rank, its address, whether it leaves), or None where nothing waits."""
        try:
            message, back = self.socket.recvfrom(64)
        except OSError:
            return None
        token, rank, what = (
            message[:TOKEN_BYTES],
            message[TOKEN_BYTES : TOKEN_BYTES + RANK_BYTES],
            message[TOKEN_BYTES + RANK_BYTES :],
        )
        if token != self._token:
            return self._receive()
        return int.from_bytes(rank, "big"), back, what == LEAVING


def _own_address() -> str:
    """This host's address as the launcher's host sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(
            (os.environ.get(LAUNCHER_VARIABLE) or socket.gethostname(), 9)
        )  # sends nothing
        return probe.getsockname()[0]
