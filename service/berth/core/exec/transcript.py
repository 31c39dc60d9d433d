"""Transcript: the events of a command that runs in this process, for all who follow it."""

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from berth.core.exec.sandbox import Outcome, Output, Stream
from berth.core.exec.store import ExecOutput
from berth.v1.exec_pb2 import Exec, ExecEvent

KEEP_ALIVE_SECONDS = 15.0
"""After how long without an event a "keep_alive" is sent; proxies close connections that are silent for a minute."""
GATHER_SECONDS = 0.05
"""How long output is gathered into one event."""
GATHER_CHARACTERS = 65_536
"""How much output makes an event at once."""
MAX_SEQUENCE = 4_294_967_295
STARTED = 1
"""The sequence number of the first event; output begins with the next one."""


class Transcript:
    """Collects the output of a command as numbered events; invalid UTF-8 is replaced.

    At most `max_bytes` of text are kept, which may be less than the command wrote: U+FFFD has three bytes.

    Output of both streams that comes within GATHER_SECONDS may be reordered: a command that alternates between them
    would otherwise make an event of every few bytes.
    """

    def __init__(self, started: Exec, max_bytes: int) -> None:
        self._started = started
        self._left = max_bytes
        self.is_truncated = False
        self._decoders = {stream: getincrementaldecoder("utf-8")("replace") for stream in Stream}
        self._pending: dict[Stream, list[str]] = {stream: [] for stream in Stream}
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._output: list[ExecOutput] = []
        self._changed = asyncio.Event()
        self._ended: Exec | None = None

    @property
    def output(self) -> Sequence[ExecOutput]:
        """The output so far, except for what is being gathered."""
        return self._output

    def write(self, output: Output) -> None:
        """Add some bytes."""
        self._gather(output.stream, self._decoders[output.stream].decode(output.data))

    def close(self) -> None:
        """Add what is left in the decoders and being gathered: the command writes no more."""
        for stream, decoder in self._decoders.items():
            self._gather(stream, decoder.decode(b"", final=True))
        self._flush()

    def end(self, exec_: Exec) -> None:
        """End with the result of the command, without its output."""
        self._ended = exec_
        self._announce()

    async def follow(self, after: int) -> AsyncIterator[ExecEvent]:
        """Yield the events after the one with a number, up to and including "ended"."""
        if after < STARTED:
            yield ExecEvent(sequence=STARTED, type="started", exec=self._started)
        position, last = max(0, after - STARTED), max(after, STARTED)
        while True:
            changed = self._changed
            while position < len(self._output):
                event = output_event(self._output[position])
                position, last = position + 1, event.sequence
                yield event
            if self._ended is not None:
                yield ended_event(self._ended, self._output)
                return
            if not await _is_set(changed, KEEP_ALIVE_SECONDS):
                yield ExecEvent(sequence=last, type="keep_alive")

    def _gather(self, stream: Stream, text: str) -> None:
        text = self._kept(text)
        if not text:
            return
        self._pending[stream].append(text)
        self._size += len(text)
        if self._size >= GATHER_CHARACTERS:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._flush)

    def _kept(self, text: str) -> str:
        """Return what there is room for; after a text that did not fit, there is none."""
        if len(data := text.encode()) <= self._left:
            self._left -= len(data)
            return text
        self.is_truncated, left, self._left = True, self._left, 0
        return data[:left].decode(errors="ignore")

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for stream, texts in self._pending.items():
            if texts:
                self._output.append(ExecOutput(len(self._output) + STARTED + 1, stream, "".join(texts)))
                texts.clear()
        self._size = 0
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def output_event(output: ExecOutput) -> ExecEvent:
    """Return the event of a part of the output."""
    event = ExecEvent(sequence=output.sequence, type="output")
    setattr(event, output.stream.value, output.text)
    return event


def ended_event(exec_: Exec, output: Sequence[ExecOutput], after: int = STARTED) -> ExecEvent:
    """Return the last event of an exec that has this output, for a caller who has the events up to `after`.

    Of a lost exec the caller may have output that was not stored any more; the end still comes after it.
    """
    last = output[-1].sequence if output else STARTED
    if exec_.outcome.type == Outcome.LOST:
        last = max(last, min(after, MAX_SEQUENCE - 1))
    return ExecEvent(sequence=last + 1, type="ended", exec=exec_)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
