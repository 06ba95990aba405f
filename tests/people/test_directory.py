"""The login by a directory, against Debian's slapd."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.common.errors import ConfigurationError, TransportError
from node.people import Because, Directory, Logins, Refusal
from node.records.users import LoginFailures, Role, Source, User, UserRecords
from node.settings.login import LoginLdapSettings, LoginSettings
from node.settings.tree import Settings
from tests.certificates import certificates
from tests.deliver.delivery_servers import eventually, free_port, is_open

__all__ = ["certificates"]

BASE = "dc=hospital,dc=example"
_ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
o: Hospital
dc: hospital

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: cn=node,{BASE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: node
userPassword: secret of the node

dn: uid=mueller,ou=people,{BASE}
objectClass: inetOrgPerson
uid: mueller
cn: Dr. Eva M\xc3\xbcller
sn: M\xc3\xbcller
departmentNumber: cn=radiology,ou=groups,{BASE}
departmentNumber: somewhere else
userPassword: password of eva

dn: uid=visitor,ou=people,{BASE}
objectClass: inetOrgPerson
uid: visitor
cn: Visitor
sn: Visitor
userPassword: password of visitor

dn: cn=radiology,ou=groups,{BASE}
objectClass: groupOfNames
cn: radiology
member: uid=mueller,ou=people,{BASE}

dn: cn=others,ou=groups,{BASE}
objectClass: groupOfNames
cn: others
member: uid=visitor,ou=people,{BASE}
"""


@dataclass(frozen=True)
class Slapd:
    """A directory: over ldaps, and over ldap with StartTLS; a bind without TLS is refused."""

    folder: Path
    certificates: Path
    ldap_port: int
    ldaps_port: int

    def settings(self, **changes: object) -> LoginLdapSettings:
        values = {
            "url": f"ldaps://127.0.0.1:{self.ldaps_port}",
            "ca_file": str(self.certificates / "authority.pem"),
            "bind_dn": f"cn=node,{BASE}",
            "bind_password_file": str(self.folder / "node-password"),
            "base_dn": f"ou=people,{BASE}",
            "radiologist_groups": (f"CN=Radiology,ou=groups,{BASE}",),
            **changes,
        }
        return LoginLdapSettings.model_validate(values)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Slapd]:
    program = shutil.which("slapd", path="/usr/sbin:/usr/bin")
    slapadd = shutil.which("slapadd", path="/usr/sbin:/usr/bin")
    if program is None or slapadd is None:
        pytest.skip("slapd is not installed (Debian package slapd)")
    folder = tmp_path_factory.mktemp("slapd")
    (folder / "data").mkdir()
    (folder / "node-password").write_text("secret of the node\n")
    (folder / "wrong-password").write_text("secret of another\n")
    (folder / "slapd.conf").write_text(f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {certificates}/authority.pem
TLSCertificateFile {certificates}/node.pem
TLSCertificateKeyFile {certificates}/node.key
security simple_bind=128
disallow bind_anon
database mdb
suffix "{BASE}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=node,{BASE}" read by * none
""")
    (folder / "entries.ldif").write_text(_ENTRIES.encode("latin-1").decode("utf-8"), encoding="utf-8")
    subprocess.run(
        [slapadd, "-f", folder / "slapd.conf", "-l", folder / "entries.ldif", "-q"], check=True, capture_output=True
    )
    made = Slapd(folder, certificates, free_port(), free_port())
    addresses = f"ldap://127.0.0.1:{made.ldap_port}/ ldaps://127.0.0.1:{made.ldaps_port}/"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-f", folder / "slapd.conf", "-h", addresses, "-d", "0"], stdout=log, stderr=log
        )
        try:
            eventually(lambda: is_open(made.ldaps_port) and is_open(made.ldap_port), "slapd", 60.0)
            yield made
        finally:
            process.terminate()
            process.wait(30)


def by_group(slapd: Slapd, **changes: object) -> LoginLdapSettings:
    return slapd.settings(group_base_dn=f"ou=groups,{BASE}", **changes)


def test_a_person_has_the_roles_of_the_groups(slapd: Slapd) -> None:
    person = Directory(by_group(slapd)).person("mueller", "password of eva")
    assert person is not None
    assert (person.name, person.full_name) == ("mueller", "Dr. Eva Müller")
    assert person.subject == f"uid=mueller,ou=people,{BASE}"
    assert person.roles == {Role.RADIOLOGIST}, "names of groups are compared without case"


def test_groups_may_be_an_attribute_of_the_person(slapd: Slapd) -> None:
    """As memberOf in Active Directory."""
    directory = Directory(slapd.settings(group_attribute="departmentNumber", viewer_groups=("somewhere else",)))
    person, visitor = directory.person("mueller", "password of eva"), directory.person("visitor", "password of visitor")
    assert person is not None
    assert person.roles == {Role.RADIOLOGIST, Role.VIEWER}
    assert visitor is not None
    assert visitor.roles == frozenset(), "who has no such attribute is in no group"


def test_starttls_comes_before_any_password(slapd: Slapd) -> None:
    """The server refuses passwords without TLS, so a success shows that there was TLS."""
    settings = by_group(slapd, url=f"ldap://127.0.0.1:{slapd.ldap_port}")
    assert Directory(settings).person("mueller", "password of eva") is not None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("mueller", "password of visitor"),
        ("mueller", ""),
        ("nobody", "password of eva"),
        ("*", "password of eva"),
        ("mueller)(uid=*", "password of eva"),
        ("m\\75eller", "password of eva"),
        ("", "password of eva"),
    ],
)
def test_who_is_wrong_gets_nothing(slapd: Slapd, name: str, password: str) -> None:
    assert Directory(by_group(slapd)).person(name, password) is None


def test_a_directory_that_cannot_be_trusted_or_reached_gets_no_password(slapd: Slapd) -> None:
    strange = str(slapd.certificates / "stranger.pem")
    for changes in (
        {"ca_file": strange},
        {"url": f"ldap://127.0.0.1:{slapd.ldap_port}", "ca_file": strange},
        {"url": f"ldaps://127.0.0.1:{free_port()}"},
        {"bind_password_file": str(slapd.folder / "wrong-password")},
        {"bind_dn": "", "bind_password_file": ""},
    ):
        with pytest.raises(TransportError):
            Directory(by_group(slapd, **changes)).person("mueller", "password of eva")
    with pytest.raises(ConfigurationError, match="bind_password_file"):
        Directory(slapd.settings(bind_password_file=""))


def test_accounts_follow_the_directory_and_can_be_disabled_here(slapd: Slapd, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    users = UserRecords.open(settings)
    users.add("admin", "", [Role.ADMINISTRATOR], password_hash="")
    directory = Directory(by_group(slapd, administrator_groups=(f"cn=others,ou=groups,{BASE}",)))

    def log_in(name: str, password: str) -> User | Refusal:
        return Logins(users, LoginFailures.open(settings), LoginSettings(max_failures=50), directory.person).by_password(
            name, password, "127.0.0.1"
        )

    user = log_in("Mueller", "password of eva")
    assert isinstance(user, User)
    assert (user.name, user.source, user.roles) == ("mueller", Source.LDAP, {Role.RADIOLOGIST})
    visitor = log_in("visitor", "password of visitor")
    assert isinstance(visitor, User)
    assert visitor.roles == {Role.ADMINISTRATOR}
    directory = Directory(by_group(slapd))
    assert log_in("visitor", "password of visitor") == Refusal(Because.NO_ROLE, "visitor"), "the group lost its role"
    lost = users.user("visitor")
    assert lost is not None
    assert lost.roles == frozenset(), "and open sessions with it"
    users.set_disabled("mueller", is_disabled=True)
    assert log_in("mueller", "password of eva") == Refusal(Because.DISABLED, "mueller")
    assert log_in("admin", "") == Refusal(Because.WRONG, "admin"), "a local account is not asked of the directory"
    directory = Directory(by_group(slapd, url=f"ldaps://127.0.0.1:{free_port()}"))
    assert log_in("mueller", "password of eva") == Refusal(Because.UNREACHABLE, "mueller")
