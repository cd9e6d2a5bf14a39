"""What the server is at, for the page's foot; `assist` and `rounds` say their own part."""

import shutil
from typing import Any

from fastapi import APIRouter

from fewmask.workbench.bench import Bench


def routes(bench: Bench) -> APIRouter:
    """`GET /api/status`. A part that is there has a method `status()`."""
    router = APIRouter(prefix="/api")

    @router.get("/status")
    def status() -> dict[str, Any]:
        return {
            "sam": bench.assist.status() if bench.assist else None,
            "saving": {"waiting": bench.outlines.waiting, "failed": bench.outlines.failed},
            "round": bench.rounds.status() if bench.rounds else None,
            "free_gb": round(shutil.disk_usage(bench.folder.root).free / 1e9, 1),
        }

    return router
