"""The page itself: files of the package, by a fixed table, read once."""

from pathlib import Path

from fastapi import APIRouter, Response

from fewmask.workbench.bench import Bench, NotThere

STATIC = Path(__file__).parents[1] / "static"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}


def routes(bench: Bench) -> APIRouter:
    """The page, its scripts and its styles. Nothing of them depends on the data."""
    files = {
        path.name: (path.read_bytes(), _KINDS[path.suffix])
        for path in (STATIC.iterdir() if STATIC.is_dir() else ())
        if path.suffix in _KINDS and path.is_file() and not path.is_symlink()
    }
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page() -> Response:
        return _file("index.html")

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        return _file(name)

    def _file(name: str) -> Response:
        if name not in files:
            raise NotThere("no such file")
        body, kind = files[name]
        return Response(body, media_type=kind)

    return router
