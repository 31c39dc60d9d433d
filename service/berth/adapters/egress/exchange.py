"""Exchange: one request and its response, both parsed and written anew. The connection is closed after it."""

import asyncio
from http import HTTPStatus

import h11

from berth.adapters.egress.head import Destination, Head, request_headers, response_headers
from berth.adapters.egress.refusals import AnswerError, bad_request
from berth.adapters.egress.sockets import Channel

_CLOSE = (b"connection", b"close")


class Exchange:
    """Passes on the request of `client` that begins with `head`, and the response of `server`."""

    def __init__(self, head: Head, destination: Destination, client: Channel, server: Channel) -> None:
        self._head = head
        self._destination = destination
        self._client = client
        self._server = server
        self._inner = head.parser
        self._outer = h11.Connection(h11.CLIENT)
        self._problem: AnswerError | None = None

    async def run(self) -> None:
        """Return after the response. AnswerError if there is none; it was cut off if the client got a part of it."""
        request, (target, path) = self._head.request, self._destination
        headers = request_headers(request, target)
        await self._server.send(
            self._outer.send(h11.Request(method=request.method, target=path or b"/", headers=headers)) or b""
        )
        if self._head.rest:
            self._inner.receive_data(self._head.rest)
        sending = asyncio.create_task(self._pass_body())
        try:
            await self._pass_response()
        except h11.RemoteProtocolError as error:
            raise self._problem or _bad_answer(str(error)) from None
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _pass_body(self) -> None:
        """Pass on the body; a response may come before its end."""
        try:
            while not isinstance(event := await self._next(self._inner, self._client), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    break
                await self._server.send(self._outer.send(event) or b"")
            await self._server.send(self._outer.send(h11.EndOfMessage()) or b"")
        except h11.RemoteProtocolError as error:
            self._problem = bad_request(str(error))
        except AnswerError as error:
            self._problem = error
        except OSError:
            return  # the server wants no more of it, and may have said why
        if self._problem is not None:
            self._server.cut()

    async def _pass_response(self) -> None:
        while not isinstance(event := await self._next(self._outer, self._server), h11.EndOfMessage):
            if isinstance(event, h11.InformationalResponse):
                event = h11.InformationalResponse(status_code=event.status_code, headers=response_headers(event))
            elif isinstance(event, h11.Response):
                headers = [*response_headers(event), _CLOSE]
                event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
            elif not isinstance(event, h11.Data):
                raise self._problem or _bad_answer("the server closed the connection")
            await self._client.send(self._inner.send(event) or b"")
        await self._client.send(self._inner.send(h11.EndOfMessage()) or b"")

    @staticmethod
    async def _next(parser: h11.Connection, source: Channel) -> object:
        while (event := parser.next_event()) is h11.NEED_DATA:
            parser.receive_data(await source.receive())
        await asyncio.sleep(0)  # one piece may hold thousands of chunks
        return event


def _bad_answer(reason: str) -> AnswerError:
    return AnswerError(HTTPStatus.BAD_GATEWAY, f"The server did not answer properly: {reason}.")
