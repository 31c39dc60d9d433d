"""What Berth has for browsers and probes: pages, the files that they need, and the state of the service."""

from dataclasses import dataclass
from typing import Protocol

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of pages: nothing from other hosts, and no inline script."""
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The one of the console: pictures are its own or made in the tab, and no text can become HTML or a script."""
REVALIDATED, KEPT, NEVER = "no-cache", "public, max-age=3600", "no-store"
"""How long clients may use a page: after they have asked whether it has changed, for an hour, or once."""


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page. `body` is compressed with gzip if it `is_gzipped`; `length` is its length without that.

    `etag` is None for what is different each time.
    """

    media_type: str
    body: bytes
    length: int
    is_gzipped: bool = False
    etag: str | None = None
    cache_control: str = NEVER
    policy: str = POLICY
    status: int = 200


class WebPages(Protocol):
    """All pages by path."""

    async def find(self, path: str) -> WebPage | None:
        """Return the page with exactly this path; None if there is none."""
