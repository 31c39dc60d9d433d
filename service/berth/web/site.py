"""The site: which path has which file, read when it is first asked for and kept compressed."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

from berth.core.web_page import CONSOLE_POLICY, KEPT, POLICY, REVALIDATED, WebPage

FOLDER = Path(__file__).parent
CONSOLE = FOLDER / "console"
ALIVE, READY = "/healthz", "/readyz"
_OK, _UNAVAILABLE = 200, 503
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_SWAGGER_UI = "flask-swagger-ui"
"""The distribution with the files of Swagger UI. It is not imported: it is made for a web framework."""
_SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")

State = Callable[[], Awaitable[Mapping[str, bool]]]
"""Tells which checks of the service pass, by name."""


class Site:
    """All pages. `files` are theirs by path; `state` says whether the service is ready."""

    def __init__(self, files: Mapping[str, Path], state: State) -> None:
        self._files = files
        self._state = state
        self._loading: dict[str, asyncio.Task[WebPage]] = {}

    async def find(self, path: str) -> WebPage | None:
        """Return the page with exactly this path; None if there is none."""
        if path == ALIVE:
            return _health({})
        if path == READY:
            return _health(await self._state())
        if path not in self._files:
            return None
        if path not in self._loading or _has_failed(self._loading[path]):
            self._loading[path] = asyncio.create_task(asyncio.to_thread(_load, self._files[path]))
        return await asyncio.shield(self._loading[path])


def site_files() -> dict[str, Path]:
    """Return the files of the site by path."""
    pages = FOLDER / "pages"
    swagger_ui = Path(str(distribution(_SWAGGER_UI).locate_file("flask_swagger_ui/dist")))
    return {
        "/": pages / "index.html",
        "/docs": pages / "docs.html",
        "/openapi.json": pages / "openapi.json",
        **{f"/docs/{file.name}": file for file in pages.iterdir() if file.suffix in {".css", ".js", ".svg"}},
        **{f"/docs/{name}": swagger_ui / name for name in _SWAGGER_UI_FILES},
        **dict(_console()),
    }


def _console() -> Iterator[tuple[str, Path]]:
    """Yield what is in the folder of the console and below; its index has the path of the folder."""
    for file in sorted(CONSOLE.rglob("*")):
        path = file.relative_to(FOLDER).as_posix()
        if file.suffix in _TYPES:
            yield f"/{path.removesuffix('/index.html')}", file


def _load(file: Path) -> WebPage:
    content = file.read_bytes()
    return WebPage(
        _TYPES[file.suffix],
        gzip.compress(content, mtime=0),
        len(content),
        is_gzipped=True,
        etag=f'W/"{sha256(content).hexdigest()[:32]}"',
        cache_control=KEPT if file.name in _SWAGGER_UI_FILES else REVALIDATED,
        policy=CONSOLE_POLICY if CONSOLE in file.parents else POLICY,
    )


def _has_failed(loading: asyncio.Task[WebPage]) -> bool:
    return loading.done() and (loading.cancelled() or loading.exception() is not None)


def _health(checks: Mapping[str, bool]) -> WebPage:
    """Return the state of the service: it is fine if all checks pass. No more than their names is said."""
    is_fine = all(checks.values())
    state: dict[str, object] = {"status": _outcome(passes=is_fine)}
    if checks:
        state["checks"] = {name: _outcome(passes=passes) for name, passes in checks.items()}
    body = json.dumps(state, separators=(",", ":")).encode()
    return WebPage(_TYPES[".json"], body, len(body), status=_OK if is_fine else _UNAVAILABLE)


def _outcome(*, passes: bool) -> str:
    return "ok" if passes else "failed"
