"""The parts of FHIR R4 and R4B resources that are read; everything else is ignored."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

#: A dateTime may have only a year or a month (FHIR R4, datatypes).
_WHOLE_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Element(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class Coding(_Element):
    """A code of a coding system."""

    system: str = ""
    code: str = ""
    display: str = ""


class CodeableConcept(_Element):
    """Codes and text for one concept."""

    coding: tuple[Coding, ...] = ()
    text: str = ""


class Identifier(_Element):
    """An identifier and its system."""

    system: str = ""
    value: str = ""
    type: CodeableConcept = CodeableConcept()


class Reference(_Element):
    """Another resource, by address or by identifier."""

    reference: str = ""
    type: str = ""
    display: str = ""
    identifier: Identifier | None = None


class HumanName(_Element):
    """A name in parts, or as one text."""

    text: str = ""
    family: str = ""
    given: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()


class ContactPoint(_Element):
    """Contact address or number."""

    system: str = ""
    value: str = ""


class Meta(_Element):
    """Version of a resource."""

    version_id: str = ""
    last_updated: dt.datetime | None = None


class Period(_Element):
    """A period of time."""

    start: str = ""


class _Resource(_Element):
    id: str = ""
    meta: Meta = Meta()
    contained: tuple[JsonValue, ...] = Field(default=(), repr=False)


class Participation(_Element):
    """A participant of an appointment."""

    actor: Reference | None = None
    type: tuple[CodeableConcept, ...] = ()


class Appointment(_Resource):
    """A booking."""

    resource_type: Literal["Appointment"]
    status: str = ""
    service_type: tuple[CodeableConcept, ...] = ()
    reason_code: tuple[CodeableConcept, ...] = ()
    description: str = ""
    start: str = ""
    participant: tuple[Participation, ...] = ()
    based_on: tuple[Reference, ...] = ()


class ServiceRequest(_Resource):
    """An order."""

    resource_type: Literal["ServiceRequest"]
    status: str = ""
    code: CodeableConcept | None = None
    order_detail: tuple[CodeableConcept, ...] = ()
    reason_code: tuple[CodeableConcept, ...] = ()
    body_site: tuple[CodeableConcept, ...] = ()
    occurrence_date_time: str = ""
    occurrence_period: Period | None = None
    subject: Reference | None = None
    requester: Reference | None = None
    performer: tuple[Reference, ...] = ()
    location_reference: tuple[Reference, ...] = ()


class Patient(_Resource):
    """The patient."""

    resource_type: Literal["Patient"]
    identifier: tuple[Identifier, ...] = ()
    name: tuple[HumanName, ...] = ()
    birth_date: str = ""
    gender: str = ""


class Practitioner(_Resource):
    """A practitioner, such as the surgeon."""

    resource_type: Literal["Practitioner"]
    identifier: tuple[Identifier, ...] = ()
    name: tuple[HumanName, ...] = ()
    telecom: tuple[ContactPoint, ...] = ()


class PractitionerRole(_Resource):
    """A role of a practitioner."""

    resource_type: Literal["PractitionerRole"]
    practitioner: Reference | None = None


class Location(_Resource):
    """A place."""

    resource_type: Literal["Location"]
    name: str = ""


Resource = Annotated[
    Appointment | ServiceRequest | Patient | Practitioner | PractitionerRole | Location, Field(discriminator="resource_type")
]
_resource: TypeAdapter[Resource] = TypeAdapter(Resource)


class Link(_Element):
    """Another page of a bundle."""

    relation: str = ""
    url: str = ""


class Entry(_Element):
    """One unparsed resource of a bundle, so that an invalid one does not affect the others."""

    resource: JsonValue = Field(default=None, repr=False)


class Bundle(_Element):
    """A page of search results."""

    resource_type: Literal["Bundle"]
    link: tuple[Link, ...] = ()
    entry: tuple[Entry, ...] = ()


def read_resource(value: JsonValue) -> Resource:
    """Read one resource.

    Raises:
        ValueError: it is of another type, or invalid; the message gives locations, not content.
    """
    try:
        return _resource.validate_python(value)
    except ValidationError as error:
        places = sorted({".".join(str(part) for part in one["loc"]) or "resourceType" for one in error.errors()})
        raise ValueError(f"not valid in FHIR R4: {', '.join(places)}") from None


def day_of(text: str) -> dt.date | None:
    """The day of a date or dateTime; ``None`` if it has none."""
    found = _WHOLE_DAY.match(text)
    try:
        return dt.date.fromisoformat(found[0]) if found else None
    except ValueError:
        return None
