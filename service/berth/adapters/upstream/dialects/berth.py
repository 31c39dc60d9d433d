"""Another Berth, with a virtual key of it."""

from berth.adapters.upstream.dialects.record import Dialect

DIALECTS = {
    "berth": Dialect(
        about="another Berth",
        example="https://berth.example.com",
        prefix="/v1",
        key_header="Authorization",
        key_form="Bearer {}",
    )
}
