"""What do MCP servers with a login look like, on the frameworks that most of them are built on?

`python logins.py sdk PORT FOLDER` serves /mcp on the official Python SDK, with the SDK's own authorization server in the
same process and a page to log in. What it has granted outlives the process, in FOLDER.

`python logins.py fastmcp PORT FOLDER` does on FastMCP, with its in-memory provider, which agrees without asking and forgets
clients and tokens when it ends.

Both want the scope `mcp:use`, and print each token that they issue.
"""

import json
import secrets
import sys
import time
from html import escape
from pathlib import Path

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers import in_memory
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

SCOPE = "mcp:use"
# Seconds that an access token lives.
LIFETIME = 5
KINDS = {
    "clients": OAuthClientInformationFull,
    "codes": AuthorizationCode,
    "access": AccessToken,
    "refresh": RefreshToken,
}


class Grants(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Who has granted what to whom, in a file."""

    def __init__(self, origin: str, file: Path) -> None:
        self.origin = origin
        self.file = file
        self.waiting: dict[str, tuple[str, AuthorizationParams]] = {}
        stored = json.loads(file.read_text()) if file.exists() else {}
        self.rows = {
            kind: {key: model.model_validate(row) for key, row in stored.get(kind, {}).items()}
            for kind, model in KINDS.items()
        }

    def keep(self) -> None:
        rows = {kind: {key: row.model_dump(mode="json") for key, row in rows.items()} for kind, rows in self.rows.items()}
        self.file.write_text(json.dumps(rows))

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.rows["clients"].get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.rows["clients"][client_info.client_id] = client_info
        self.keep()

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        ticket = secrets.token_urlsafe(16)
        self.waiting[ticket] = (client.client_id, params)
        return f"{self.origin}/login?ticket={ticket}"

    def log_in(self, ticket: str, subject: str) -> str:
        client_id, params = self.waiting.pop(ticket)
        code = secrets.token_urlsafe(32)
        self.rows["codes"][code] = AuthorizationCode(
            code=code,
            client_id=client_id,
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
            subject=subject,
        )
        self.keep()
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(self, client: OAuthClientInformationFull, authorization_code: str):
        return self.rows["codes"].get(authorization_code)

    async def exchange_authorization_code(self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode):
        self.rows["codes"].pop(authorization_code.code)
        return self.issue(authorization_code)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str):
        return self.rows["refresh"].get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ):
        self.rows["refresh"].pop(refresh_token.token)
        return self.issue(refresh_token)

    def issue(self, granted: AuthorizationCode | RefreshToken) -> OAuthToken:
        said = {
            "client_id": granted.client_id,
            "scopes": granted.scopes,
            "resource": granted.resource,
            "subject": granted.subject,
        }
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.rows["access"][access] = AccessToken(token=access, expires_at=int(time.time()) + LIFETIME, **said)
        self.rows["refresh"][refresh] = RefreshToken(token=refresh, **said)
        self.keep()
        return OAuthToken(
            access_token=access, refresh_token=refresh, expires_in=LIFETIME, scope=" ".join(granted.scopes)
        )

    async def load_access_token(self, token: str) -> AccessToken | None:
        found = self.rows["access"].get(token)
        return found if found and found.expires_at > time.time() else None

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        for kind in ("access", "refresh"):
            self.rows[kind] = {key: row for key, row in self.rows[kind].items() if row.subject != token.subject}
        self.keep()


def printing(provider):
    """The provider, which prints what it issues."""
    for name in ("exchange_authorization_code", "exchange_refresh_token"):

        async def exchange(*args, of=getattr(provider, name)):
            issued = await of(*args)
            print("issued", issued.access_token, issued.refresh_token, flush=True)
            return issued

        setattr(provider, name, exchange)
    return provider


def sdk(origin: str, folder: Path):
    grants = Grants(origin, folder / "grants.json")
    server = MCPServer(
        "sdk",
        auth_server_provider=printing(grants),
        auth=AuthSettings(
            issuer_url=origin,
            resource_server_url=f"{origin}/mcp",
            validate_token_resource=True,
            required_scopes=[SCOPE],
            client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=[SCOPE]),
            revocation_options=RevocationOptions(enabled=True),
        ),
    )

    @server.tool()
    def whoami() -> str:
        """Says who is logged in."""
        return get_access_token().subject

    @server.custom_route("/login", methods=["GET", "POST"])
    async def login(request: Request):
        ticket = request.query_params["ticket"]
        if request.method == "POST":
            form = await request.form()
            return RedirectResponse(grants.log_in(ticket, form["sub"]), status_code=302)
        action = f"/login?ticket={escape(ticket)}"
        return HTMLResponse(f'<form method="post" action="{action}"><input type="text" name="sub"></form>')

    return server.streamable_http_app()


def fast_mcp(origin: str, folder: Path):
    in_memory.DEFAULT_ACCESS_TOKEN_EXPIRY_SECONDS = LIFETIME
    auth = in_memory.InMemoryOAuthProvider(
        base_url=origin,
        required_scopes=[SCOPE],
        client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=[SCOPE]),
        revocation_options=RevocationOptions(enabled=True),
    )
    server = FastMCP("fastmcp", auth=printing(auth))

    @server.tool
    def whoami() -> str:
        """Says what it knows of the caller: this provider knows no people."""
        return " ".join(get_access_token().scopes)

    return server.http_app(path="/mcp")


if __name__ == "__main__":
    kind, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    app = {"sdk": sdk, "fastmcp": fast_mcp}[kind](f"http://127.0.0.1:{port}", folder)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
