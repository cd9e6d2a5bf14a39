"""SAM's answers."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from fewmask.workbench.assist import Answer, NotReady
from fewmask.workbench.bench import Bench, NotThere
from fewmask.workbench.line import Line
from fewmask.workbench.routes.answers import BadRequest, Form, octets, raw

_FAR = 100_000.0
Number = Annotated[int | float, Field(ge=-_FAR, le=_FAR)]
"""A place on a slice in pixels, edges counted from 0."""


class Prompts(Form):
    """Boxes (x0, y0, x1, y1) and clicks (x, y, 1 inside or 0 outside) on a slice."""

    boxes: list[Annotated[list[Number], Field(min_length=4, max_length=4)]] = Field(
        default=[], max_length=64
    )
    points: list[Annotated[list[Number], Field(min_length=3, max_length=3)]] = Field(
        default=[], max_length=256
    )


class Fit(Form):
    """A structure's outline in a neighbour slice, to be fitted to this one."""

    from_: int = Field(alias="from", ge=0, lt=100_000)
    class_: int = Field(alias="class", ge=1, le=255)


def routes(bench: Bench) -> APIRouter:
    """Answers come one at a time; a slice that SAM has not read yet is answered by 202."""
    router = APIRouter(prefix="/api")
    line = Line()

    def ask(key: str, d: int, question: Callable[[str], Answer]) -> Response:
        case = bench.case(key)
        if not 0 <= d < bench.voxels.info(case).shape[0]:
            raise NotThere("no slice of that number")
        with line.turn():
            try:
                found = question(case)
            except NotReady:
                return JSONResponse({"ready": False}, 202)
        return raw(found.mask, {"X-Score": f"{found.score:.4f}"})

    @router.post("/cases/{key}/sam/{d}", responses=octets("uint8 numbers, 0 or 1"))
    def prompt(key: str, d: int, said: Prompts) -> Response:
        boxes: list[Any] = [tuple(box) for box in said.boxes]
        if any(box[0] >= box[2] or box[1] >= box[3] for box in boxes):
            raise BadRequest(422, "a box is left, top, right, bottom, and holds something")
        if any(point[2] not in (0, 1) for point in said.points):
            raise BadRequest(422, "a click is inside (1) or outside (0)")
        if not boxes and not said.points:
            raise BadRequest(422, "neither a box nor a click")
        points: list[Any] = [(x, y, int(inside)) for x, y, inside in said.points]
        return ask(key, d, lambda case: bench.assist.answer(case, d, boxes, points))

    @router.post("/cases/{key}/sam/{d}/fit", responses=octets("uint8 numbers, 0 or 1"))
    def fit(key: str, d: int, said: Fit) -> Response:
        def question(case: str) -> Answer:
            outline = bench.outlines.read(case, said.from_).mask == said.class_
            return bench.assist.fit(case, d, np.asarray(outline))

        return ask(key, d, question)

    return router
