"""What the proxy answers instead of passing on a request."""

from http import HTTPStatus


class AnswerError(Exception):
    """The request is answered with a status and a line of text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    def answer(self) -> bytes:
        """Return the whole response."""
        body = f"{self}\n".encode()
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


class RefusedError(AnswerError):
    """The policy refuses the request; `name` is what it wanted to reach."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, f"Berth refused {name}: {reason}.")
        self.name = name


def bad_request(reason: str) -> AnswerError:
    """Return the error for a request that is not valid."""
    return AnswerError(HTTPStatus.BAD_REQUEST, f"The request was refused: {reason}.")
