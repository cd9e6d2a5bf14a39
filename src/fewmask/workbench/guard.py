"""What stands between a local server and the web pages that a browser has open beside it: whom a
request is for, where it comes from, who sends it, how much it may bring, and what an answer says.

A plain ASGI wrapper; no handler is reached by a request that does not pass.
"""

import asyncio
import ipaddress
import json
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json"
MASK = "application/x-fewmask-mask"
LOCAL = ("127.0.0.1", "localhost", "::1")
JSON_BYTES = 2**20
MOST_BRACKETS = 900
"""Far more than 256 points and 64 boxes need, and fewer than any parser stumbles over."""
IDLE_SECONDS = 60.0
"""A body that rests for so long is given up."""
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_SAFE = ("GET", "HEAD")
_METHODS = (*_SAFE, "POST", "PUT")
_ONCE = ("origin", "sec-fetch-site", "content-type", "content-encoding", "if-match", "range")
"""Lines of which a second one could say something else than the one that is looked at."""


class Refused(Exception):
    """Why a request goes no further."""

    def __init__(self, status: int, code: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.record = {"code": code, "message": message, "fix": fix}


@dataclass(frozen=True)
class Guard:
    """Wraps an app."""

    app: App
    token: str
    mask_bytes: int = 64 * 2**20
    """Most bytes of a mask that is sent; routes know their slice's size and refuse less."""
    hosts: tuple[str, ...] = LOCAL
    """Names under which the server may be asked for."""
    any_address: bool = False
    """Addresses in numbers are fine too: a person let the server be reached from elsewhere."""
    dev: bool = False
    """Show tracebacks of our own faults in the terminal."""
    idle_seconds: float = IDLE_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no WebSockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = _with_ours(message.get("headers", ()))
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
            await self.app(scope, _replay(body, receive), answer)
        except Refused as refused:
            await _tell(answer, refused.status, refused.record)
        except Exception as error:
            self._log(error)
            if not begun:
                await _tell(answer, 500, OUR_FAULT)

    def _check(self, scope: Scope) -> None:
        headers = _Headers(scope["headers"])
        host = headers.only("host")
        if host is None or not self._is_ours(host):
            raise Refused(400, "host", "this server answers under its own name alone")
        if any(headers.get(name) is not None and headers.only(name) is None for name in _ONCE):
            raise Refused(400, "twice", "a line of the request's head stands there twice")
        if scope["method"] not in _METHODS:
            raise Refused(405, "method", "no such method here")
        if "," in (headers.get("range") or ""):
            raise Refused(416, "range", "one range at most")
        api = scope["path"].startswith("/api") or (
            self.dev and scope["path"].startswith("/openapi")
        )
        _check_origin(headers, host, scope, api)
        if scope["method"] not in _SAFE:
            _check_kind(headers)
        if api and not self._knows(headers.only("authorization")):
            raise Refused(
                401, "token", "the key of this server is missing or wrong",
                "open the address that `fewmask label` printed",
            )  # fmt: skip

    def _is_ours(self, host: str) -> bool:
        name, port = _part(host)
        if port and not (port.isascii() and port.isdigit() and len(port) < 6):
            return False
        if name.lower() in self.hosts:
            return True
        if self.any_address:
            try:
                ipaddress.ip_address(name)
            except ValueError:
                return False
            return True
        return False

    def _knows(self, said: str | None) -> bool:
        scheme, _, token = (said or "").partition(" ")
        given = token.strip().encode("latin-1", "replace")
        same = secrets.compare_digest(given, self.token.encode())
        return same and scheme.lower() == "bearer"

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, which no handler has to bound or to wait for."""
        headers = _Headers(scope["headers"])
        kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
        limit = self.mask_bytes if kind == MASK else JSON_BYTES
        length = headers.get("content-length")
        if length is not None and (not length.isdigit() or int(length[:18]) > limit):
            raise _too_large(limit)
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            try:
                message = await asyncio.wait_for(receive(), self.idle_seconds)
            except TimeoutError as error:
                raise Refused(408, "slow", "nothing came for too long") from error
            if message["type"] == "http.disconnect":
                raise Refused(400, "gone", "the request ended too early")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
            more = message.get("more_body", False)
        body = b"".join(parts)
        if kind == JSON and body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
            raise Refused(422, "form", "the request holds too many lists")
        return body

    def _log(self, error: Exception) -> None:
        """Names of people and folders stand in messages: the kind of the fault alone is told."""
        if self.dev:
            traceback.print_exc()
        else:
            print(f"fewmask label: a fault of ours: {type(error).__name__}", file=sys.stderr)


OUR_FAULT = {
    "code": "fault",
    "message": "fewmask failed in a way it does not know; what was saved before is whole",
    "fix": "load the page again; if it happens again, please report it",
}


class _Headers:
    """Header lines; names are in small letters already, as ASGI wants them."""

    def __init__(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        self._lines = [(name.lower(), value.decode("latin-1").strip()) for name, value in lines]

    def get(self, name: str) -> str | None:
        """The first line of that name."""
        return next((value for key, value in self._lines if key == name.encode()), None)

    def only(self, name: str) -> str | None:
        """The line of that name, where there is exactly one."""
        found = [value for key, value in self._lines if key == name.encode()]
        return found[0] if len(found) == 1 else None


def _check_origin(headers: _Headers, host: str, scope: Scope, api: bool) -> None:
    origin = headers.get("origin")
    if origin is not None and origin != f"{scope.get('scheme', 'http')}://{host}":
        raise Refused(403, "origin", "requests of other pages are not answered")
    site = headers.get("sec-fetch-site")
    # A link or a bookmark may lead to the page, which holds no data.
    followed = headers.get("sec-fetch-mode") == "navigate" and not api and scope["method"] == "GET"
    if site not in (None, "same-origin", "none") and not followed:
        raise Refused(403, "origin", "requests of other pages are not answered")


def _check_kind(headers: _Headers) -> None:
    kind = headers.get("content-type")
    plain = (kind or "").partition(";")[0].strip().lower()
    nothing = headers.get("content-length") in (None, "0") and not headers.get("transfer-encoding")
    if plain not in (JSON, MASK) and not (kind is None and nothing):
        raise Refused(403, "kind", f"bodies are {JSON} or {MASK}")
    if (headers.get("content-encoding") or "identity").lower() != "identity":
        raise Refused(415, "kind", "bodies are not compressed")


def _part(host: str) -> tuple[str, str]:
    """Name and port of a Host line; IPv6 addresses stand in brackets."""
    if host.startswith("["):
        name, end, rest = host[1:].partition("]")
        return (name, rest[1:]) if end and rest[:1] in ("", ":") else ("", "")
    name, _, port = host.partition(":")
    return name, port


def _with_ours(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    ours = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    known = {name for name, _ in ours}
    return [*((name, value) for name, value in lines if name.lower() not in known), *ours]


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once; then whatever else comes (the browser going away)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(limit: int) -> Refused:
    return Refused(413, "size", f"more than {limit} bytes")


async def _tell(send: Send, status: int, record: dict[str, str]) -> None:
    body = json.dumps(record).encode()
    lines = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    if status in (408, 413):
        lines.append((b"connection", b"close"))
    if status == 405:
        lines.append((b"allow", ", ".join(_METHODS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
