"""Whether commands may be run at all, and why not."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from berth.core.exec.sandbox import Sandbox

ADVICE = "set exec.accept_shared_kernel: true to accept that"


@dataclass(frozen=True, slots=True)
class KernelRule:
    """When commands may share the kernel of the machine, from which a fault in it would let them escape.

    `is_accepted` by the operator in any case. Otherwise only if no listener `is_public`, beyond the machine itself, and
    at most one of `tenants` can reach hosted containers; it returns None for any number of them.
    """

    is_accepted: bool
    is_public: bool
    tenants: Callable[[], Awaitable[int | None]]

    async def refusal(self) -> str | None:
        """Return why commands must not share the kernel, None if they may."""
        if self.is_accepted:
            return None
        if self.is_public:
            return f"a listener is beyond loopback, and the sandbox shares the kernel of the machine; {ADVICE}"
        tenants = await self.tenants()
        if tenants is None or tenants > 1:
            return f"several tenants can reach hosted containers, and their sandboxes share a kernel; {ADVICE}"
        return None


def _report_nothing(_: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Availability:
    """The sandbox, None if none works here for the `reason`; `kernel` is the rule if it shares the kernel.

    `report` gets what the rule says, each time it is asked.
    """

    sandbox: Sandbox | None
    reason: str
    kernel: KernelRule | None
    report: Callable[[str | None], None] = _report_nothing

    async def refusal(self) -> str | None:
        """Return why commands cannot be run now, None if they can."""
        if self.sandbox is None:
            return self.reason
        if self.kernel is None:
            return None
        refusal = await self.kernel.refusal()
        self.report(refusal)
        return refusal
