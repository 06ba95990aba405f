"""FHIR servers, by their CapabilityStatement (FHIR R4 3.1.0.9)."""

from __future__ import annotations

import ssl
from urllib.error import HTTPError, URLError

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.common.errors import ConfigurationError
from node.doctor.finding import Finding, Outcome
from node.doctor.http import get
from node.settings.files import ascii_secret, trusting

#: Supported versions: R4 and R4B.
_VERSIONS = ("4.0.", "4.3.")
_UNAUTHORIZED = (401, 403)


class _Interaction(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    code: str = ""


class _Rest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    interaction: tuple[_Interaction, ...] = ()


class _CapabilityStatement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    resource_type: str = Field(alias="resourceType")
    fhir_version: str = Field(default="", alias="fhirVersion")
    rest: tuple[_Rest, ...] = ()


def check_fhir(name: str, section: str, base_url: str, token_file: str, ca_file: str, needed: str = "") -> Finding:
    """Whether a server answers ``/metadata``, in a supported version.

    Args:
        section: of the settings.
        needed: code of an interaction with the whole system that the node needs, such as ``transaction``.
    """
    try:
        context = trusting(ca_file, f"{section}.ca_file")
        token = ascii_secret(token_file, f"{section}.token_file").strip()
        body = _metadata(base_url, token, context)
        statement = _CapabilityStatement.model_validate_json(body)
    except ConfigurationError as error:
        return Finding(name, Outcome.ERROR, str(error))
    except HTTPError as error:
        todo = f"check {section}.base_url"
        if error.code in _UNAUTHORIZED:
            todo = f"check {section}.token_file, and the permissions of the node on the server"
        return Finding(name, Outcome.ERROR, f"{base_url} answers /metadata with {error.code}", todo)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        todo = f"start it, or correct {section}.base_url; with https check ca_file"
        return Finding(name, Outcome.ERROR, f"{base_url} does not answer ({reason})", todo)
    except (ValueError, ValidationError):
        return Finding(name, Outcome.ERROR, f"{base_url} is not a FHIR server", f"correct {section}.base_url")
    if statement.resource_type != "CapabilityStatement":
        return Finding(name, Outcome.ERROR, f"{base_url} is not a FHIR server", f"correct {section}.base_url")
    said = f"{base_url} answers, FHIR {statement.fhir_version or 'version not stated'}"
    if not statement.fhir_version.startswith(_VERSIONS):
        return Finding(
            name, Outcome.WARNING, said, "the node supports R4 and R4B: use a base address of the server for one of them"
        )
    offered = {one.code for rest in statement.rest for one in rest.interaction}
    if needed and needed not in offered:
        return Finding(name, Outcome.WARNING, f"{said}, but does not declare {needed}", "ask its administrator")
    return Finding(name, Outcome.OK, f"{said}; read and write permissions are not checked")


def _metadata(base_url: str, token: str, context: ssl.SSLContext) -> bytes:
    headers = {"Accept": "application/fhir+json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return get(f"{base_url.rstrip('/')}/metadata", headers=headers, context=context).body
