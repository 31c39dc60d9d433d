"""The proxy that one would write by hand: FastAPI and httpx, without keys, limits, log and checks.

Run by uvicorn in an environment that has all three; UPSTREAM is where requests go.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response  # type: ignore[import-not-found]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for all requests."""
    async with httpx.AsyncClient(base_url=os.environ["UPSTREAM"]) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])  # type: ignore[untyped-decorator]
async def forward(path: str, request: Request) -> Response:
    """Send a request on and return the answer."""
    headers = {"authorization": "Bearer sk-upstream", "content-type": request.headers.get("content-type", "")}
    answer = await request.app.state.client.request(
        request.method, f"/{path}", params=request.query_params, headers=headers, content=await request.body()
    )
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
