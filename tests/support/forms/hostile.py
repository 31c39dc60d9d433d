"""Forms that are made hostile at random: changed in their bytes and their parts, and sent in odd ways."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import NamedTuple

from support.forms.clients import Sent, client_forms

ATOMS = [
    *(b"--edge", b"--edge--", b"\r\n--edge\r\n", b"\r\n--edge--\r\n", b"--edge \t\r\n", b"----", b"\r\n\r\n"),
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b";", b":", b"=", b'"', b"\\", b'\\"', b"%", b"%00", b"%22", b"*"),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", "\u202e".encode(), "日本".encode(), b"../", b"/", b"C:\\", b"."),
    *(b"Content-Disposition: form-data; ", b"Content-Disposition: attachment\r\n", b"Content-Type: ", b"content-type"),
    *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: binary\r\n", b"Content-Length: 1\r\n"),
    *(b'name="file"', b"name=file", b'name=""', b'; name="file"', b'name="file_id"', b'name="file_path"'),
    *(b'name="provider"', b'name="purpose"', b'name="expires_after[seconds]"', b'name="_charset_"', b'name="x\0y"'),
    *(b'; filename="a.txt"', b'; filename=""', b"; filename*=UTF-8''%C3%BC", b"; filename*=iso-8859-1''%fc"),
    *(b"; filename*=UTF-8''%zz", b"; filename*0=a", b'filename="' + b"x" * 300 + b'"', b"text/plain", b"text/"),
    *(b"batch", b"user_data", b"file-1", b"ollama", b"3600", b"created_at", b"-1", b"9" * 30, b"/mnt/data/", b"{}"),
    *(b"X: y\r\n" * 9, b"X: " + b"y" * 4_200 + b"\r\n", b"x" * 5_000, b"--edge\r\n\r\n" * 17, b"\r\n" * 3_000),
]

CONTENT_TYPES = [
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"),
    *("multipart/form-data; boundary=edge; boundary=x", "MULTIPART/FORM-DATA ; Boundary=edge"),
    *("multipart/form-data; boundary=e", "multipart/form-data; boundary=" + "e" * 257, "multipart/form-data;" * 100),
    *("multipart/mixed; boundary=edge", "text/plain; boundary=edge", "text/plain", "application/json", "nonsense", ""),
    "multipart/form-data; boundary=\xff",
]
"""Sent as Latin-1, so that the last is not UTF-8."""

Change = Callable[[bytes, int, int], bytes]


def _piece(body: bytes, at: int, size: int) -> tuple[bytes, bytes, bytes]:
    """Split a body in three, the second of about `size` bytes."""
    start = at % (len(body) + 1)
    return body[:start], body[start : start + size], body[start + size :]


def _cut(body: bytes, at: int, size: int) -> bytes:
    before, _, behind = _piece(body, at, size)
    return before + behind


def _truncate(body: bytes, at: int, _: int) -> bytes:
    return _piece(body, at, 0)[0]


def _repeat(body: bytes, at: int, size: int) -> bytes:
    before, piece, behind = _piece(body, at, size)
    return before + piece * 2 + behind


def _flip(body: bytes, at: int, size: int) -> bytes:
    before, piece, behind = _piece(body, at, 1)
    return before + bytes(byte ^ (size % 255 + 1) for byte in piece) + behind


def _insert(body: bytes, at: int, size: int) -> bytes:
    before, _, behind = _piece(body, at, 0)
    return before + ATOMS[size % len(ATOMS)] + behind


def _replace(body: bytes, at: int, size: int) -> bytes:
    """Put an atom in the place of another that is there."""
    there = [atom for atom in ATOMS if atom in body]
    return body.replace(there[at % len(there)], ATOMS[size % len(ATOMS)], 1 + size % 2) if there else body


def _splice(body: bytes, at: int, size: int) -> bytes:
    """Go on as another client's form does."""
    others = client_forms()
    other = others[size % len(others)].body
    return _truncate(body, at, 0) + other[at % len(other) :]


def _swap_parts(body: bytes, at: int, size: int) -> bytes:
    parts = body.split(b"\r\n--")
    first, second = at % len(parts), size % len(parts)
    parts[first], parts[second] = parts[second], parts[first]
    return b"\r\n--".join(parts)


def _repeat_part(body: bytes, at: int, size: int) -> bytes:
    parts = body.split(b"\r\n--")
    parts.insert(at % (len(parts) + 1), parts[size % len(parts)])
    return b"\r\n--".join(parts)


CHANGES: list[Change] = [
    *(_cut, _truncate, _repeat, _flip, _insert, _insert, _replace, _replace, _splice, _swap_parts, _repeat_part),
]


class Ending(NamedTuple):
    """How a body ends: how many bytes more its length promises, and whether its last chunk is sent."""

    promised: int = 0
    is_ended: bool = True


WHOLE = Ending()


class Delivery(NamedTuple):
    """How a body gets onto the network: in chunks or with a length, cut where, and ended how."""

    is_chunked: bool = False
    cuts: tuple[int, ...] = ()
    ending: Ending = WHOLE

    def pieces(self, body: bytes) -> list[bytes]:
        """Return `body` in the pieces that are sent, none of them empty."""
        edges = [0, *sorted(cut % (len(body) + 1) for cut in self.cuts), len(body)]
        return [body[start:end] for start, end in pairwise(edges) if start < end]


class Hostile(NamedTuple):
    """A form and how it is sent."""

    sent: Sent
    delivery: Delivery = Delivery()

    @property
    def arriving(self) -> bytes | None:
        """What a server has of the body when it is over; None if it never is."""
        ending = self.delivery.ending
        is_whole = ending.is_ended if self.delivery.is_chunked else not ending.promised
        return self.sent.body if is_whole else None

    def request(self, path: str, headers: str) -> list[bytes]:
        """Return the pieces of the whole request, in HTTP/1.1."""
        body, ending = self.sent.body, self.delivery.ending
        length = f"content-length: {len(body) + ending.promised}"
        framing = "transfer-encoding: chunked" if self.delivery.is_chunked else length
        typed = f"content-type: {self.sent.content_type}"
        head = f"POST {path} HTTP/1.1\r\n{headers}\r\n{typed}\r\n{framing}\r\n\r\n".encode("latin-1")
        if not self.delivery.is_chunked:
            return [head, *self.delivery.pieces(body)]
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.delivery.pieces(body)]
        return [head, *chunks, *([b"0\r\n\r\n"] if ending.is_ended else [])]


_ENDINGS = [*[WHOLE] * 9, Ending(1), Ending(100), Ending(is_ended=False)]


def hostile_form(random: Random) -> Hostile:
    """Make a client's form hostile, in one to three ways, and its delivery odd."""
    sent = random.choice(client_forms())
    body = sent.body
    for _ in range(random.choice((1, 1, 2, 3))):
        body = random.choice(CHANGES)(body, random.randrange(2_000), random.randrange(120))
    content_type = random.choice([*[sent.content_type] * 2 * len(CONTENT_TYPES), *CONTENT_TYPES])
    cuts = tuple(random.randrange(2_000) for _ in range(random.randrange(4)))
    delivery = Delivery(random.random() < 0.5, cuts, random.choice(_ENDINGS))
    return Hostile(Sent(body, content_type, sent.is_outside), delivery)
