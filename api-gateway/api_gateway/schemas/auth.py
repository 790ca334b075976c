"""Accounts and sessions."""

from __future__ import annotations

from pydantic import Field

from api_gateway.schemas.base import Body, Millis, Text, View
from im.auth.v1 import auth_pb2 as pb


class DeviceBody(Body):
    device_id: Text | None = Field(
        None, min_length=1, description="Made up by the server when missing."
    )
    platform: Text | None = Field(
        None, min_length=1, description="ios, android, web, desktop or other."
    )

    def device(self) -> pb.Device:
        return pb.Device(device_id=self.device_id or "", platform=self.platform or "")


class RegisterBody(DeviceBody):
    username: Text = Field(description="3 to 32 of letters, digits and `_ . -`.")
    password: Text = Field(description="8 to 72 bytes of UTF-8.")
    nickname: Text | None = None
    email: Text | None = None


class LoginBody(DeviceBody):
    username: Text
    password: Text


class RefreshBody(Body):
    refresh_token: Text
    device_id: Text | None = Field(None, description="As at the login, if it was given there.")


class PasswordBody(Body):
    old_password: Text
    new_password: Text


class Tokens(View):
    user_id: int
    session_id: str
    access_token: str = Field(description="JWT.")
    refresh_token: str = Field(description="Can be used once; again only if the answer was lost.")
    expires_in: int = Field(description="Seconds until the access token expires.")

    @classmethod
    def of(cls, tokens: pb.TokenPair) -> Tokens:
        return cls(
            user_id=tokens.user_id,
            session_id=tokens.session_id,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in=tokens.expires_in,
        )


class Session(View):
    session_id: str
    device_id: str
    platform: str
    address: str
    created_at: Millis
    last_seen_at: Millis
    current: bool

    @classmethod
    def of(cls, session: pb.Session) -> Session:
        return cls(
            session_id=session.session_id,
            device_id=session.device_id,
            platform=session.platform,
            address=session.address,
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
            current=session.current,
        )


class Jwk(View):
    kty: str
    crv: str
    kid: str
    x: str
    alg: str
    use: str


class Jwks(View):
    keys: list[Jwk]
