"""Logging: its form, and what is never in it."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys, structlog
from berth.telemetry.logging import configure_logging

def handle(key):
    request = "s3cret body"
    raise ValueError("a bug")

configure_logging(json=sys.argv[1] == "json")
log = structlog.get_logger()
log.debug("not.shown")
log.info("call.finished", status="OK")
try:
    handle("sk-bf-s3cret")
except ValueError as error:
    log.error("call.failed", exc_info=error)
"""


def logged(form: str) -> str:
    """Return what a process of its own logs, as the set-up is one for the whole process."""
    command = [sys.executable, "-c", PROGRAM, form]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr


def test_a_pipe_gets_a_line_of_json_per_event() -> None:
    """Each event is one object on one line, with its level and its time."""
    finished, failed = map(json.loads, logged("json").splitlines())
    assert (finished["event"], finished["level"], finished["status"]) == ("call.finished", "info", "OK")
    assert finished["timestamp"]
    assert (failed["event"], failed["level"]) == ("call.failed", "error")
    assert failed["exception"][0]["exc_value"] == "a bug"
    assert failed["exception"][0]["frames"][-1]["name"] == "handle"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str) -> None:
    """Local variables hold keys, bodies and files: a bug shows where it is, and nothing of what it worked on."""
    text = logged(form)
    assert "a bug" in text
    assert "handle" in text
    assert "sk-bf-s3cret" not in text.replace('handle("sk-bf-s3cret")', "")
    assert "s3cret body" not in text


@pytest.mark.parametrize(("level", "events"), [("warning", ["b", "c", "d"]), ("debug", ["debug", "a", "b", "c", "d"])])
def test_the_level_never_leaves_out_the_audit_trail(level: str, events: list[str]) -> None:
    """Events below the level are left out, but those of the audit trail are logged at every level."""
    program = """
import sys, structlog
from berth.telemetry.logging import configure_logging
configure_logging(json=True, level=sys.argv[1])
log = structlog.get_logger()
log.debug("debug")
log.info("a")
log.bind(audit=True).info("b")
log.warning("c")
log.error("d")
"""
    command = [sys.executable, "-c", program, level]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr
    assert [json.loads(line)["event"] for line in text.splitlines()] == events


def test_libraries_log_in_the_same_form() -> None:
    """What comes through the standard library is a line of JSON like the others; below a warning it is left out."""
    program = """
import logging
from berth.telemetry.logging import configure_logging
configure_logging(json=True)
logging.getLogger("library").info("chatter")
logging.getLogger("library").warning("something %s", "odd")
"""
    command = [sys.executable, "-c", program]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr
    (line,) = map(json.loads, text.splitlines())
    assert (line["event"], line["level"]) == ("something odd", "warning")


def test_a_terminal_gets_lines_for_people() -> None:
    """Without JSON an event stands first, and a traceback below it."""
    text = logged("console")
    assert "call.finished" in text
    assert "Traceback (most recent call last)" in text
    assert "not.shown" not in text


def test_what_a_caller_causes_is_no_error_of_grpc() -> None:
    """Neither a header that grpc cannot decode, which may be a key, nor a caller who left early is logged."""
    program = """
import logging
from berth.telemetry.logging import configure_logging
configure_logging(json=True)
grpc = logging.getLogger("grpc._cython.cygrpc")
grpc.exception("Invalid encoding on %s", b"sk-bf-s3cret")
grpc.error("something else")
try:
    raise RuntimeError("Failed execute_batch")
except RuntimeError:
    grpc.exception("ExecuteBatchError raised in core by servicer method [/berth.v1.FileService/ListFiles]")
"""
    command = [sys.executable, "-c", program]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr
    (line,) = map(json.loads, text.splitlines())
    assert line["event"] == "something else"
