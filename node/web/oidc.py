"""Login through a provider of OpenID Connect: authorization code flow with PKCE, state and nonce (authlib)."""

from __future__ import annotations

import logging
from pathlib import Path

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from httpx2 import HTTPError
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from node.people import Person, roles_of
from node.settings.files import secret_of, trusting
from node.settings.login import LoginOidcSettings

log = logging.getLogger(__name__)

BEGIN_PATH, CALLBACK_PATH = "/login/oidc", "/login/oidc/callback"
_WAIT_S = 10.0


class Provider:
    """The provider of the settings."""

    def __init__(self, settings: LoginOidcSettings, public_url: str) -> None:
        """Read the client secret.

        Raises:
            ConfigurationError: its file, or that of the authorities, cannot be used.
        """
        self._settings = settings
        self._callback = f"{public_url.rstrip('/')}{CALLBACK_PATH}"
        self._client = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=secret_of(Path(settings.client_secret_file), "login_oidc.client_secret_file", "secret"),
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.scope,
                "code_challenge_method": "S256",
                "verify": trusting(settings.ca_file, "login_oidc.ca_file"),
                "timeout": _WAIT_S,
            },
        )

    @property
    def label(self) -> str:
        """What the button on the login page is called."""
        return self._settings.label

    async def redirect(self, request: Request) -> Response | None:
        """Send the browser to the provider; ``None`` if the provider does not answer."""
        try:
            answer: Response = await self._client.authorize_redirect(request, self._callback)
        except (AuthlibBaseError, HTTPError, ValueError) as error:
            log.warning("the OpenID provider does not answer: %s", type(error).__name__)
            return None
        return answer

    async def person(self, request: Request) -> Person | None:
        """The person whom the provider names; ``None`` if its answer is not valid, or not for this browser."""
        try:
            token = await self._client.authorize_access_token(request, claims_options=self._claims())
        except (AuthlibBaseError, JoseError, HTTPError, ValueError, KeyError) as error:
            log.warning("the OpenID provider's answer is not valid: %s", type(error).__name__)
            return None
        claims = token.get("userinfo") or {}
        if not claims.get("sub"):
            return None
        # claims beyond the ID token, such as groups, may only be in the userinfo answer
        metadata = await self._client.load_server_metadata()
        if self._settings.groups_claim not in claims and metadata.get("userinfo_endpoint"):
            try:
                more = await self._client.userinfo(token=token)
            except (AuthlibBaseError, HTTPError, ValueError) as error:
                log.warning("the OpenID provider's userinfo is not valid: %s", type(error).__name__)
                return None
            if more.get("sub") != claims["sub"]:  # OpenID Connect Core 5.3.2
                return None
            claims = {**more, **claims}
        return self._person(claims)

    def _claims(self) -> dict[str, dict[str, object]]:
        issuer = self._settings.issuer.rstrip("/")
        return {
            "iss": {"essential": True, "values": [issuer, f"{issuer}/"]},
            "aud": {"essential": True, "value": self._settings.client_id},
        }

    def _person(self, claims: dict[str, object]) -> Person | None:
        one = self._settings
        name, full_name, groups = (claims.get(key) for key in (one.name_claim, one.full_name_claim, one.groups_claim))
        if not isinstance(name, str):
            log.warning("the OpenID provider sends no claim %s, set login_oidc.name_claim or scope", one.name_claim)
            return None
        in_groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        subject = f"{one.issuer.rstrip('/')} {claims['sub']}"
        said = full_name if isinstance(full_name, str) else name
        return Person(name, said, subject, roles_of(map(str, in_groups), one))
