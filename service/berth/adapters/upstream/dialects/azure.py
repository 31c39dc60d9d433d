"""Azure OpenAI: its API `v1`, and its older API of dated versions, which deployments use."""

from berth.adapters.upstream.dialects.record import Dialect

_RESOURCE = "https://NAME.openai.azure.com"
_NO_LIST = frozenset({"container_list"})

DIALECTS = {
    "azure": Dialect(
        about="Azure's `v1`",
        example=_RESOURCE,
        prefix="/openai/v1",
        key_header="api-key",
        key_form="{}",
        lacks=_NO_LIST,
    ),
    "azure_dated": Dialect(
        about="Azure's older API with an `api_version`",
        example=_RESOURCE,
        prefix="/openai",
        key_header="api-key",
        key_form="{}",
        needs_version=True,
        lacks=_NO_LIST,
    ),
}
