"""The handlers of UsageService."""

from berth.core.usage.reports import UsageReports
from berth.rpc.call import Call
from berth.v1.usage_service_pb2 import ListUsageRequest, ListUsageResponse


class UsageHandlers:
    """Handles UsageService with `reports`."""

    def __init__(self, reports: UsageReports) -> None:
        self._reports = reports

    async def ListUsage(self, request: ListUsageRequest, call: Call) -> ListUsageResponse:
        """Return a page of usage."""
        return await self._reports.list_usage(call.caller, request)
