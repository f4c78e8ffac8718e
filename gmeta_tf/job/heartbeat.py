"""Tells a rank that is stopped from one that is busy, and what the busy one does: each sends rank 0
a datagram now and then, and rank 0 answers.

A rank that computes, traces or waits still answers, since a thread of its own does so; one that is
stopped, or whose host is gone, does not. A rank that was never heard of (datagrams may be blocked
between hosts) is never called silent, nor is one that took its leave.
"""

import dataclasses
import ipaddress
import os
import secrets
import socket
import struct
import time

LAUNCHER_VARIABLE = "HOROVOD_GLOO_RENDEZVOUS_ADDR"
HEAD = struct.Struct("!8sI?ff")  # token, rank, whether it leaves, seconds still, seconds waiting
TEXT_BYTES, MESSAGES = 200, 1000  # of what it does; at most, that one beat takes in
EVERY = 1.0  # seconds
ELSEWHERE = "192.0.2.1"  # an address for documents, which the default route leads to


@dataclasses.dataclass(frozen=True)
class Pulse:
    """What a rank says of itself.

    Attributes:
      still: seconds since it last made progress; in rank 0's answers, since any rank did.
      waiting: seconds for which it has been waiting for others; 0 where it does not.
      doing: what, in a few words.
      leaving: whether its silence means nothing from here on.
    """

    still: float = 0.0
    waiting: float = 0.0
    doing: str = ""
    leaving: bool = False


QUIET = Pulse()


class Heartbeat:
    """One rank's end. Rank 0 makes it without an address; the others take rank 0's `address`.

    Args:
      rank: this rank.
      one_host: whether all ranks run on this host.
      address: "host port token" of rank 0, as its `address` says.

    Raises:
      OSError: this host has no IPv4, or rank 0's no address that other hosts could know.
    """

    def __init__(self, rank: int, *, one_host: bool, address: str | None = None):
        own = "127.0.0.1" if one_host or address else _own_address()
        self.rank = rank
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.heard: dict[int, float] = {}  # rank -> when
        self._pulses: dict[int, Pulse] = {}  # of those heard
        self._addresses: dict[int, tuple[str, int]] = {}
        self._gone: set[int] = set()
        self._beat = self._looked = time.monotonic()
        if address is None:
            self.socket.bind(("127.0.0.1" if one_host else "", 0))
            self.address = f"{own} {self.socket.getsockname()[1]} {secrets.token_hex(8)}"
        else:
            self.address = address
        host, port, token = self.address.split()
        self._home, self._token = (host, int(port)), bytes.fromhex(token)

    def beat(self, pulse: Pulse = QUIET):
        """Sends what is due and takes in what came; to be called more often than once a second."""
        now = time.monotonic()
        if now - self._looked > 5 * EVERY:
            # this process itself was stopped: the others' silence says nothing
            self.heard = dict.fromkeys(self.heard, now)
        self._looked = now
        if self.rank and now - self._beat >= EVERY:
            self._send(self._home, pulse)
            self._beat = now
        for sender, back, of_sender in self._received():
            if of_sender.leaving:
                self._gone.add(sender)
                self.heard.pop(sender, None)
            if sender in self._gone:
                continue
            self.heard[sender], self._addresses[sender] = now, back
            self._pulses[sender] = of_sender
            if self.rank == 0:
                still = min(pulse.still, self.still())
                self._send(back, dataclasses.replace(pulse, still=still))

    def silent(self, seconds: float) -> int | None:
        """A rank that was heard before and not for so long, or None."""
        now = time.monotonic()
        return next(
            (rank for rank, when in sorted(self.heard.items()) if now - when > seconds), None
        )

    def still(self) -> float:
        """Seconds since the ranks that are heard made progress, any of them; infinite of none."""
        return min((pulse.still for pulse in self.pulses().values()), default=float("inf"))

    def pulses(self) -> dict[int, Pulse]:
        """What the other ranks that are heard do by now."""
        now, present = time.monotonic(), {}
        for rank, when in sorted(self.heard.items()):
            then, age = self._pulses[rank], now - when
            waiting = then.waiting + age if then.waiting else 0.0
            present[rank] = dataclasses.replace(then, still=then.still + age, waiting=waiting)
        return present

    def leave(self):
        """Tells rank 0, or as rank 0 all who were heard, that this rank's silence means nothing
        from here on.
        """
        for to in [self._home] if self.rank else list(self._addresses.values()):
            self._send(to, Pulse(leaving=True))

    def close(self):
        """Frees the socket."""
        self.socket.close()

    def _send(self, to, pulse):
        head = HEAD.pack(self._token, self.rank, pulse.leaving, pulse.still, pulse.waiting)
        try:
            self.socket.sendto(head + pulse.doing.encode()[:TEXT_BYTES], to)
        except OSError:
            return  # a lost datagram is a missed beat

    def _received(self):
        """Yields (sender's rank, its address, its pulse) of what waits; others' datagrams are
        dropped.
        """
        for _ in range(MESSAGES):
            try:
                message, back = self.socket.recvfrom(HEAD.size + TEXT_BYTES)
            except OSError:
                return
            if len(message) < HEAD.size:
                continue
            token, rank, leaving, still, waiting = HEAD.unpack(message[: HEAD.size])
            if token == self._token:
                doing = message[HEAD.size :].decode(errors="replace")
                yield rank, back, Pulse(still, waiting, doing, leaving)


def _own_address() -> str:
    """This host's address as other hosts see it.

    Raises:
      OSError: it has none that is known, such as one of IPv6 only.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if launcher and (address := _source(launcher)):
        return address
    for way in (socket.gethostname(), ELSEWHERE):
        address = _source(way)
        # Debian maps a host's own name to 127.0.1.1
        if address and not ipaddress.ip_address(address).is_loopback:
            return address
    name = socket.gethostname()
    raise OSError(f"this host, {name}, has no IPv4 address that other hosts could send to")


def _source(way: str) -> str | None:
    """The address from which this host would send to another; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((way, 9))
        except (OSError, UnicodeError):  # no such name, or nothing that could be one
            return None
        return probe.getsockname()[0]
