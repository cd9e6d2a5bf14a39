"""What to outline next."""

from typing import Any

from fastapi import APIRouter, Query

from fewmask.workbench.bench import Bench
from fewmask.workbench.suggest import suggest


def routes(bench: Bench) -> APIRouter:
    """Suggestions, made anew at each request."""
    router = APIRouter(prefix="/api")

    @router.get("/next")
    def suggestions(n: int = Query(default=10, ge=1, le=100)) -> dict[str, Any]:
        return suggest(bench, n)

    return router
