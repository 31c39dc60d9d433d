"""Ownership of files: finds and lists the files of a tenant, hosted or passthrough."""

from berth.core.caller import Caller
from berth.core.pagination import long_page_of, read_pagination
from berth.core.ports.file_store import FileRecord, FileStore
from berth.core.validation import file_not_found, missing
from berth.v1.file_service_pb2 import ListFilesRequest, ListFilesResponse
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

DEFAULT_LIMIT = 10_000
"""The default number of files on a page, which is also the maximum."""


class FileOwnership:
    """Finds the files of one caller at a time."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def file(
        self, caller: Caller, file_id: str, *, provider: Provider, at: Provider = PROVIDER_UNSPECIFIED
    ) -> FileRecord:
        """Return the caller's file, of `provider` if that is set; only one that is kept `at` a provider if set.

        InvalidRequestError for an empty id; NotFoundError if there is none; PermissionDeniedError
        if the caller may not use its provider.
        """
        if not file_id:
            raise missing("file_id")
        record = await self._store.get(caller.tenant, file_id, at)
        caller.require_match(record.provider, named=provider, not_found=lambda: file_not_found(file_id))
        return record

    async def files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of the caller's files, of all providers that it may use if none is named."""
        page = await self._store.list(
            caller.tenant,
            read_pagination(request, default=DEFAULT_LIMIT),
            providers=frozenset({request.provider}) if request.provider else caller.providers,
            purpose=request.purpose or None,
        )
        files = [record.file for record in page.data]
        response = await long_page_of(ListFilesResponse, files, has_more=page.has_more)
        if request.provider:
            response.extra_fields.provider = request.provider
        return response
