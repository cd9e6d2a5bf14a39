"""The app of the workbench, and how it is served: on this machine alone."""

import asyncio
import getpass
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from fewmask.core.errors import FewmaskError, NoRoom, of_the_machine
from fewmask.core.signals import StopRequest, listen
from fewmask.version import __version__
from fewmask.workbench.bench import Bench, NotThere
from fewmask.workbench.guard import LOCAL, OUR_FAULT, Guard
from fewmask.workbench.line import LineFull
from fewmask.workbench.routes import assist, cases, next, pages, rounds, status, surface
from fewmask.workbench.routes.answers import BadRequest
from fewmask.workbench.tables import Stale
from fewmask.workbench.voxels import without_paths

_PORTS = 50
"""So many ports are tried, from the one that was asked for."""
HEADER_SECONDS = 20.0
_WORDS = {404: "there is nothing here", 405: "this address knows no such method"}


def make_app(bench: Bench, dev: bool = False) -> FastAPI:
    """The app, without its guard (`guarded`). `dev`: with /openapi.json."""
    app = FastAPI(
        title="fewmask label",
        version=__version__,
        openapi_url="/openapi.json" if dev else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for part in (cases, status, surface, assist, rounds, next, pages):
        app.include_router(part.routes(bench))
    _tell_errors(app, bench)
    return app


def guarded(
    bench: Bench,
    token: str,
    dev: bool = False,
    hosts: tuple[str, ...] = LOCAL,
    any_address: bool = False,
) -> Guard:
    """The app behind its guard: what a server runs, and what tests ask."""
    app = make_app(bench, dev)
    return Guard(app, token, hosts=hosts, any_address=any_address, dev=dev)


def _tell_errors(app: FastAPI, bench: Bench) -> None:
    hidden = sorted({str(bench.folder.data), str(bench.folder.root)}, key=len, reverse=True)

    def answer(status: int, code: str, message: str, fix: str = "", **more: Any) -> JSONResponse:
        for path in hidden:  # the page needs no folder of this machine
            message, fix = message.replace(path, "..."), fix.replace(path, "...")
        return JSONResponse({"code": code, "message": message, "fix": fix, **more}, status)

    @app.exception_handler(NotThere)
    async def not_there(request: Request, error: Exception) -> JSONResponse:
        return answer(404, "not-there", str(error))

    @app.exception_handler(IndexError)
    async def no_slice(request: Request, error: Exception) -> JSONResponse:
        return answer(404, "not-there", "no slice of that number")

    @app.exception_handler(Stale)
    async def stale(request: Request, error: Stale) -> JSONResponse:
        return answer(
            409,
            "stale",
            "this was changed in another window",
            "look at both, and save again",
            revision=error.revision,
        )

    @app.exception_handler(LineFull)
    async def line_full(request: Request, error: Exception) -> JSONResponse:
        return answer(429, "busy", "too much is waiting already", "ask again in a moment")

    @app.exception_handler(BadRequest)
    async def bad(request: Request, error: BadRequest) -> JSONResponse:
        return answer(error.status, "form", error.message, error.fix)

    @app.exception_handler(RequestValidationError)
    async def form(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:3])
        return answer(422, "form", ascii(f"{where}: {first['msg']}")[1:-1])

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        words = _WORDS.get(error.status_code, "the request cannot be read")
        found = answer(error.status_code, "http", words)
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(FewmaskError)
    async def ours(request: Request, error: FewmaskError) -> JSONResponse:
        status = 507 if isinstance(error, NoRoom) else 422
        what, fix = (without_paths(text, error) for text in (error.what, error.fix))
        return answer(status, error.code or "refused", what, fix)

    @app.exception_handler(OSError)
    async def machine(request: Request, error: OSError) -> JSONResponse:
        return await ours(request, of_the_machine(error))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(OUR_FAULT, 500)


# --- serving ---


class _Patient(H11Protocol):
    """Hangs up on whoever does not finish the head of a request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """Stops when `asked` says so; signals are left to it."""

    def __init__(self, config: uvicorn.Config, asked: StopRequest) -> None:
        super().__init__(config)
        self._asked = asked

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._asked.stop


def serve(
    guard: Guard,
    listener: socket.socket,
    on_start: Callable[[], None] = lambda: None,
) -> StopRequest:
    """Answer requests until a signal says stop; returns which."""
    config = uvicorn.Config(
        guard,
        http=_Patient,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=5,
    )
    with listen() as asked:
        on_start()
        _Server(config, asked).run([listener])
    return asked


def bind(host: str, port: int) -> socket.socket:
    """A listening socket at `port` or, where it is taken, one of the next. Raises `NoRoom` (X19)
    if all are.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    trouble: OSError | None = None
    for number in range(port, min(port + _PORTS, 65536)) if port else (0,):
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, number))
            found.listen(128)
        except OSError as error:
            found.close()
            trouble = error
        else:
            return found
    raise NoRoom(
        f"no port from {port} on is free at {host}",
        where=str(trouble or ""),
        did="nothing was started",
        fix="name another with `port`",
        code="X19",
    )


def tunnel_line(port: int) -> str:
    """What a person types on the machine that they sit at, to reach a server on this one."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "USER"
    return f"ssh -L {port}:127.0.0.1:{port} {user}@{socket.gethostname()}"
