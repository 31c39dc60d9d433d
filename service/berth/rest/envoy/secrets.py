"""Certificates for Envoy, as files of secrets that Envoy reads again when they are replaced."""

from typing import Any

Json = dict[str, Any]

SERVER, CLIENT_CA = "server", "client_ca"


def secret_files(certificate: str, key: str, client_ca: str | None) -> dict[str, Json]:
    """Return the content of each file by its name; Envoy requires one secret per file. Arguments are PEM."""
    pair = {"certificate_chain": {"inline_string": certificate}, "private_key": {"inline_string": key}}
    files = {_name(SERVER): _file(SERVER, tls_certificate=pair)}
    if client_ca is not None:
        files[_name(CLIENT_CA)] = _file(CLIENT_CA, validation_context={"trusted_ca": {"inline_string": client_ca}})
    return files


def secret_from(folder: str, secret: str) -> Json:
    """Return where Envoy finds a secret: in the secret's file in `folder`."""
    source = {"path_config_source": {"path": f"{folder}/{_name(secret)}"}, "resource_api_version": "V3"}
    return {"name": secret, "sds_config": source}


def _name(secret: str) -> str:
    return f"{secret}.json"


def _file(secret: str, **content: Json) -> Json:
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [{"@type": kind, "name": secret, **content}]}
