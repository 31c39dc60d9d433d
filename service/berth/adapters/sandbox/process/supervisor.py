"""Runs one command in a sandbox and ends it: when it is told to, when Berth is gone, when it exceeds a limit.

The socket to Berth carries the length and the JSON of what to run, then a byte to cancel; back come frames of a kind, a
length and the bytes. The end of the socket means that Berth is gone or has lost interest.
"""

import os
from typing import Any, NoReturn

from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.arguments import Layout, arguments, process_limit
from berth.adapters.sandbox.process.cgroup import Groups
from berth.adapters.sandbox.process.changes import Changes, are_copied
from berth.adapters.sandbox.process.children import start
from berth.adapters.sandbox.process.link import Link
from berth.adapters.sandbox.process.session.supervisor import run_session
from berth.adapters.sandbox.process.staging import stage
from berth.adapters.sandbox.process.supervision import FAILED, Supervision


def supervise(descriptor: int, groups: Groups) -> NoReturn:
    """Run what the socket says, in a cgroup of `groups`, and end this process."""
    link = Link(descriptor)
    try:
        spec = link.receive()
        if spec is not None:
            (run_session if spec["session"] else _run)(spec, link, groups)
    except BaseException as error:  # noqa: BLE001 - it has to be reported, whatever it is
        link.send(FAILED, f"{type(error).__name__}: {error}".encode(errors="replace"))
    link.close()
    os._exit(0)


def _run(spec: dict[str, Any], link: Link, groups: Groups) -> None:
    linux.adopt_orphans()
    group = groups.made(spec["limits"]["memory_bytes"], process_limit(spec))
    placed = stage(spec["sources"], [spec["files"], spec["changes"]], spec["proxy"], spec["uid"])
    spec["overlay"] = spec["overlay"] and not are_copied(placed.path(spec["files"]))
    changes = Changes(placed.path(spec["files"]), placed.path(spec["changes"]), overlay=spec["overlay"])
    changes.prepare()
    layout = Layout(spec, placed.path, changes.own)
    child = start(layout, arguments, group)
    limits = spec["limits"]
    supervision = Supervision(changes.limits_of_all(limits), link, child, changes.top, group)
    supervision.proxy = spec["proxy"] and placed.path(spec["proxy"])
    try:
        supervision.until_ended()
    finally:
        child.kill()
    supervision.check_disk()
    supervision.check_disk(changes.limits_of_changes(limits))
    changes.settle()
    supervision.report()
