"""TLS of Envoy's listener."""

from typing import Any

from berth.rest.envoy.edge import Tls
from berth.rest.envoy.filters import typed
from berth.rest.envoy.secrets import CLIENT_CA, SERVER, secret_from

Json = dict[str, Any]


def tls_socket(tls: Tls) -> Json:
    """Return the transport socket of a listener that speaks TLS."""
    common: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        **(_from_secrets(tls, tls.secrets_folder) if tls.secrets_folder else _from_files(tls)),
    }
    context = typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=common)
    if tls.client_ca_path:
        context["require_client_certificate"] = tls.require_client_certificate
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _from_files(tls: Tls) -> Json:
    certificate = {"certificate_chain": {"filename": tls.certificate_path}, "private_key": {"filename": tls.key_path}}
    context: Json = {"tls_certificates": [certificate]}
    if tls.client_ca_path:
        revoked = {"crl": {"filename": tls.client_crl_path}} if tls.client_crl_path else {}
        context["validation_context"] = {"trusted_ca": {"filename": tls.client_ca_path}, **revoked}
    return context


def _from_secrets(tls: Tls, folder: str) -> Json:
    context: Json = {"tls_certificate_sds_secret_configs": [secret_from(folder, SERVER)]}
    if tls.client_ca_path:
        context["validation_context_sds_secret_config"] = secret_from(folder, CLIENT_CA)
    return context
