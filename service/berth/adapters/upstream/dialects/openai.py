"""OpenAI's own API, and every API that is compatible with it. The base URL ends in `/v1`."""

from berth.adapters.upstream.dialects.record import Dialect

DIALECTS = {
    "openai": Dialect(
        about="OpenAI's API or a compatible one",
        example="https://api.example.com/v1",
        base_url="https://api.openai.com/v1",
        prefix="",
        key_header="Authorization",
        key_form="Bearer {}",
    )
}
