"""Certificates that are renewed while clients connect."""

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from support.clients.polling import wait_until
from support.measuring.soak import soak, times
from support.servers.encrypted import SPIFFE, placed, serial_at

RENEWALS = times(1, 60)
CLIENTS = times(1, 2)
"""How many connect to each address at a time."""


class Handshakes:
    """Connects to an address again and again; has the certificates that were shown, and the failures."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self.address = address
        self.count = 0
        self.shown: set[str] = set()
        self.failures: list[OSError] = []
        self._context = context

    def run(self, stop: threading.Event) -> None:
        """Connect until `stop` is set."""
        while not stop.is_set():
            self.count += 1
            try:
                self.shown.add(serial_at(self.address, self._context))
            except OSError as error:
                self.failures.append(error)


def have_seen(all_handshakes: list[Handshakes], count: int) -> bool:
    """Return whether each address has shown as many certificates."""
    return all(len(handshakes.shown) >= count for handshakes in all_handshakes)


@soak
def test_no_handshake_fails_while_certificates_are_renewed(tmp_path: Path) -> None:
    """Clients that connect to both listeners without a pause see each certificate, and no connection fails."""
    stop = threading.Event()
    with placed(tmp_path, require=True) as place, ThreadPoolExecutor() as pool:
        context = place.authority.trusting(tmp_path, place.authority.client(SPIFFE))
        both = [Handshakes(address, context) for address in (urlsplit(place.berth.rest).netloc, place.berth.grpc)]
        running = [pool.submit(handshakes.run, stop) for handshakes in both for _ in range(CLIENTS)]
        try:
            for renewals in range(RENEWALS):
                wait_until(partial(have_seen, both, renewals + 1))
                place.renew()
            wait_until(partial(have_seen, both, RENEWALS + 1))
        finally:
            stop.set()
        for future in running:
            future.result()
    assert [one.failures for one in both] == [[], []]
    print(f"{RENEWALS} renewals, {sum(one.count for one in both)} handshakes, 0 failed")  # noqa: T201 - the figures of a soak
