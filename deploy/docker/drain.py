"""Drains an Envoy that is deployed on its own, before its container stops, and ends when no request is running.

Arguments: the address of Envoy's admin interface, and for how many seconds new connections are still accepted, until
load balancers know that this Envoy stops. Then clients are asked to close their connections, and running requests have
up to 30 seconds.
"""

import http.client
import json
import sys
import time

GRACE_SECONDS = 30.0
LINGER_SECONDS = 2.0
POLL_SECONDS = 0.1


def ask(address: str, method: str, path: str) -> bytes:
    """Return the body of an answer of the admin interface."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def count(address: str, name: str) -> int:
    """Return a number of connections or requests, without those to the admin interface."""
    stats = json.loads(ask(address, "GET", f"/stats?format=json&filter=^http\\..*{name}$"))["stats"]
    return sum(each.get("value", 0) for each in stats if not each.get("name", "http.admin.").startswith("http.admin."))


def drain(address: str) -> None:
    """Stop accepting connections, and wait for the end of running requests."""
    # Without the first request Envoy would not ask clients to close; without the second its port would stay open.
    ask(address, "POST", "/drain_listeners?graceful&skip_exit")
    ask(address, "POST", "/drain_listeners")
    end, lingering = time.monotonic() + GRACE_SECONDS, time.monotonic() + LINGER_SECONDS
    while count(address, "downstream_cx_active") and time.monotonic() < lingering:
        time.sleep(POLL_SECONDS)
    while count(address, "downstream_rq_active") and time.monotonic() < end:
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    time.sleep(float(sys.argv[2]))
    drain(sys.argv[1])
