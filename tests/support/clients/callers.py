"""Many callers who read one resource without a pause, and after a refusal come back when it says.

As a program, this module is those callers, so that they have a processor for themselves.
"""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from urllib.parse import urlsplit

WARM_SECONDS = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_OK, _REFUSED, _OTHER = "ok", "refused", "other"


@dataclass(frozen=True)
class Took:
    """What came of the calls; `others` are answers that are neither a success nor a 503 with Retry-After."""

    callers: int
    per_second: float
    p50: float
    p99: float
    """Of calls that succeeded, in milliseconds."""
    refused_per_second: float
    others: int

    def __str__(self) -> str:
        """Tell the figures to people."""
        refused = f", {self.refused_per_second:.0f} refused a second" if self.refused_per_second else ""
        return (
            f"{self.callers} callers: {self.per_second:.0f} calls/s, {self.p50:.0f} ms, p99 {self.p99:.0f} ms{refused}"
        )


def called(url: str, key: str, callers: int, seconds: float, processors: Sequence[int]) -> Took:
    """Let callers call in a process of their own, on some processors."""
    arguments = (url, key, str(callers), str(seconds), json.dumps(list(processors)))
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return Took(**json.loads(done.stdout))


class _Callers:
    """The connections, each with what it has received of an answer and when its request was sent."""

    def __init__(self, url: str, key: str, number: int) -> None:
        parts = urlsplit(url)
        self._head = f"GET {parts.path} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        self._poll = select.epoll()
        self._sockets = [socket.create_connection((parts.hostname, parts.port)) for _ in range(number)]
        self._by_number = {one.fileno(): one for one in self._sockets}
        self._received = dict.fromkeys(self._by_number, b"")
        self._sent = dict.fromkeys(self._by_number, 0.0)
        self._due = [(0.0, one.fileno()) for one in self._sockets]
        for one in self._sockets:
            self._poll.register(one, select.EPOLLIN)

    def run(self, seconds: float) -> tuple[list[float], Counter[str]]:
        """Call for some seconds after a moment; return the times of successes, and how many answers of a kind came."""
        begin = time.perf_counter() + WARM_SECONDS
        times: list[float] = []
        counts: Counter[str] = Counter()
        while (now := time.perf_counter()) < begin + seconds:
            while self._due and self._due[0][0] <= now:
                self._send(heappop(self._due)[1])
            wait = min(0.05, max(0.0, self._due[0][0] - now)) if self._due else 0.05
            for number, _ in self._poll.poll(wait):
                kind, took = self._receive(number)
                if kind and time.perf_counter() > begin:
                    counts[kind] += 1
                    times += [took] if kind == _OK else []
        return times, counts

    def _send(self, number: int) -> None:
        self._received[number], self._sent[number] = b"", time.perf_counter()
        self._by_number[number].sendall(self._head)

    def _receive(self, number: int) -> tuple[str, float]:
        """Return the kind of the answer and how long it took, no kind while it is incomplete."""
        data, now = self._by_number[number].recv(65_536), time.perf_counter()
        self._received[number] += data
        head, found, body = self._received[number].partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if data and not (found and length and len(body) >= int(length[1])):
            return "", 0.0
        retry, kind = _RETRY_AFTER.search(head), _OTHER
        if head.startswith(b"HTTP/1.1 200"):
            kind = _OK
        elif head.startswith(b"HTTP/1.1 503") and retry:
            kind = _REFUSED
        if not data:
            self._poll.unregister(number)
        else:
            heappush(self._due, (now + int(retry[1]) if retry else now, number))
        return kind, now - self._sent[number]


def main() -> None:
    """Call as the arguments say, and print what came of it."""
    url, key, callers, seconds, processors = sys.argv[1:]
    os.sched_setaffinity(0, json.loads(processors))
    times, counts = _Callers(url, key, int(callers)).run(float(seconds))
    ordered = sorted(1000 * one for one in times) or [float("nan")]
    per_second, refused = (counts[kind] / float(seconds) for kind in (_OK, _REFUSED))
    took = Took(
        int(callers), per_second, ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], refused, counts[_OTHER]
    )
    sys.stdout.write(json.dumps(vars(took)))


if __name__ == "__main__":
    main()
