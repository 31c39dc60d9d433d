"""OCI Generative AI. It supports neither skills nor network policies; its sandboxes have no network."""

from berth.adapters.upstream.dialects.record import Dialect

DIALECTS = {
    "oci": Dialect(
        about="OCI Generative AI",
        example="https://inference.generativeai.REGION.oci.oraclecloud.com",
        prefix="/openai/v1",
        key_header="Authorization",
        key_form="Bearer {}",
        lacks_fields=frozenset({"skills", "network_policy"}),
    )
}
