"""Certificates for Envoy, as files of secrets that Envoy reads again when they are replaced."""

from typing import Any

from berth.rest.envoy.edge import Tls

Json = dict[str, Any]

SERVER, CLIENT_CA = "server", "client_ca"


def inline_secrets(certificate: str, key: str, client_ca: str | None) -> dict[str, Json]:
    """Return the content of each file by its name; Envoy requires one secret per file. Arguments are PEM."""
    authorities = {"trusted_ca": {"inline_string": client_ca}} if client_ca is not None else None
    return _files({"inline_string": certificate}, {"inline_string": key}, authorities)


def referring_secrets(tls: Tls) -> dict[str, Json]:
    """Return the content of each file by its name, with the paths of the PEM files.

    Envoy watches the folders of these paths, and reads the PEM files again when something is renamed
    in them. That includes the link that Kubernetes replaces in a mounted secret.
    """
    authorities = None
    if tls.client_ca_path is not None:
        revoked = {"crl": {"filename": tls.client_crl_path}} if tls.client_crl_path else {}
        authorities = {"trusted_ca": {"filename": tls.client_ca_path}, **revoked}
    return _files({"filename": tls.certificate_path}, {"filename": tls.key_path}, authorities)


def secret_from(folder: str, secret: str) -> Json:
    """Return where Envoy finds a secret: in the secret's file in `folder`."""
    path = {"path": f"{folder}/{_name(secret)}", "watched_directory": {"path": folder}}
    return {"name": secret, "sds_config": {"path_config_source": path, "resource_api_version": "V3"}}


def _files(certificate: Json, key: Json, authorities: Json | None) -> dict[str, Json]:
    files = {_name(SERVER): _file(SERVER, tls_certificate={"certificate_chain": certificate, "private_key": key})}
    if authorities is not None:
        files[_name(CLIENT_CA)] = _file(CLIENT_CA, validation_context=authorities)
    return files


def _name(secret: str) -> str:
    return f"{secret}.json"


def _file(secret: str, **content: Json) -> Json:
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [{"@type": kind, "name": secret, **content}]}
