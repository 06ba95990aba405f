"""Settings of the login, of the directory and provider that know people, and of the audit trail."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from node.settings.types import HostOrNone, Port, Section, WebAddressOrNone


class LoginSettings(Section):
    """The login to the pages. Local accounts: ``bmd-node users``. See ``docs/administration.md``."""

    session_hours: float = Field(default=12.0, gt=0, le=168)
    """A session ends this many hours after the login."""

    idle_minutes: float = Field(default=30.0, gt=0)
    """A session ends when nobody has used it for this many minutes; that a page refreshes itself does not count."""

    max_failures: int = Field(default=5, ge=1)
    """A name is locked for ``lock_minutes`` after this many failed logins."""

    max_failures_per_address: int = Field(default=50, ge=0)
    """The same for an address, whatever the names; 0: no limit. People behind one proxy have one address, unless it is one
    of ``web.trusted_proxies``."""

    lock_minutes: float = Field(default=15.0, gt=0)
    """How long a name or an address stays locked; ``bmd-node users unlock`` ends it."""

    min_password_length: int = Field(default=12, ge=8, le=128)
    """Shortest password of a local account."""


class _Groups(Section):
    """Which groups have which role."""

    viewer_groups: tuple[str, ...] = ()
    """Groups whose members may look at studies. Who is in no group of these three settings cannot log in."""

    radiologist_groups: tuple[str, ...] = ()
    """Groups whose members may also correct and sign."""

    administrator_groups: tuple[str, ...] = ()
    """Groups whose members may look at studies, destinations and metrics."""


class LoginLdapSettings(_Groups):
    """Login with the accounts of a directory (LDAP, Active Directory), beside local accounts. The node looks up the name,
    then binds with the password that was typed."""

    url: str = Field(default="", pattern=r"^(ldaps?://[^\s/?#]+)?$")
    """Address of the directory, such as ``ldaps://dc.hospital.example``. Empty: no directory. Over ``ldap://`` the node uses
    StartTLS before any password."""

    ca_file: str = ""
    """PEM file with the authorities of the directory's certificate; empty: those of the system."""

    bind_dn: str = ""
    """DN with which the node looks up names; empty: without a login."""

    bind_password_file: str = ""
    """File with the password of ``bind_dn`` and nothing else."""

    base_dn: str = ""
    """Where people are, such as ``ou=people,dc=hospital,dc=example``."""

    user_filter: str = "(uid={name})"
    """Which entry is a person; ``{name}`` is what was typed. Active Directory: ``(sAMAccountName={name})``."""

    full_name_attribute: str = "cn"
    """Attribute with the name that is shown."""

    group_attribute: str = "memberOf"
    """Attribute of a person with the DNs of groups; used if ``group_base_dn`` is empty."""

    group_base_dn: str = ""
    """Where groups are, for directories without ``memberOf``."""

    group_filter: str = "(member={dn})"
    """Which groups a person is in; ``{dn}`` is the DN of the person, ``{name}`` what was typed."""

    @field_validator("user_filter")
    @classmethod
    def _names_the_person(cls, value: str) -> str:
        if "{name}" not in value:
            raise ValueError("must contain {name}, or everybody would be found")
        return value


class LoginOidcSettings(_Groups):
    """Login through a provider of OpenID Connect, beside local accounts. Needs ``web.public_url``; register
    ``PUBLIC_URL/login/oidc/callback`` with the provider."""

    issuer: WebAddressOrNone = ""
    """Address of the provider, without ``/.well-known/openid-configuration``. Empty: no provider."""

    client_id: str = ""
    """Client ID that the provider has given to the node."""

    client_secret_file: str = ""
    """File with the client secret and nothing else."""

    ca_file: str = ""
    """PEM file with the authorities of the provider's certificate; empty: those of the system."""

    scope: str = "openid profile"
    """Scopes to ask for; many providers send groups only with one more, such as ``groups``."""

    label: str = "Hospital account"
    """What the button on the login page is called."""

    name_claim: str = "preferred_username"
    """Claim with the name of the account."""

    full_name_claim: str = "name"
    """Claim with the name that is shown."""

    groups_claim: str = "groups"
    """Claim with the groups of a person."""


class AuditSettings(Section):
    """Copies of the audit trail as DICOM audit messages (PS3.15 A.5) to a syslog server (RFC 5424). The trail itself is
    always kept; see ``bmd-node audit``."""

    syslog_host: HostOrNone = ""
    """Host name or address of the server; empty: no copies."""

    syslog_port: Port = 6514
    """Port; 6514 is registered for syslog over TLS (RFC 5425), 514 for UDP (RFC 5426)."""

    syslog_protocol: Literal["tls", "udp"] = "tls"
    """``tls``, or ``udp``, which is readable on the network, and may lose messages."""

    syslog_ca_file: str = ""
    """PEM file with the authorities of the server's certificate; empty: those of the system."""

    syslog_certificate_file: str = ""
    """PEM file with the node's certificate, if the server wants one."""

    syslog_key_file: str = ""
    """PEM file with its key; empty: it is in the same file."""

    source_id: str = Field(default="bmd-node", min_length=1, max_length=48, pattern=r"^[!-~]+$")
    """Audit Source ID of the messages, and host name of syslog: printable ASCII without blanks."""

    enterprise_site_id: str = ""
    """Audit Enterprise Site ID; empty: none."""
