"""Scans, what is drawn in them, and what is said of them."""

from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from jaxtyping import UInt8
from starlette.concurrency import run_in_threadpool

from fewmask.core.colours import colour_of
from fewmask.quality.next import DEFAULT_RULE
from fewmask.version import __version__
from fewmask.workbench.accept import accept, take_back
from fewmask.workbench.bench import Bench, NotThere
from fewmask.workbench.guard import MASK
from fewmask.workbench.outlines import State
from fewmask.workbench.queue import case_page, case_row, presets, tags_of
from fewmask.workbench.routes.answers import AcceptForm, BadRequest, TagForm, octets, raw
from fewmask.workbench.suggest import RULE_WORDS
from fewmask.workbench.tables import Tag, in_frame
from fewmask.workbench.thumbs import draw_thumb
from fewmask.workbench.voxels import cut

Layer = Literal["outline", "prediction"]
_MORE = 2**20


def routes(bench: Bench) -> APIRouter:
    """Everything about cases that needs no model."""
    router = APIRouter(prefix="/api")

    @router.get("/session")
    def session() -> dict[str, Any]:
        known = [info for case in bench.pairs if (info := bench.voxels.known(case))]
        return {
            "version": __version__,
            "data": bench.folder.data.name,
            "classes": [
                {"value": value, "name": name, "colour": colour_of(value)}
                for value, name in enumerate(bench.classes, start=1)
            ],
            "plane": bench.folder.plane,
            "slices_from": bench.folder.slices_from,
            "modality": ("ct" if known[0].ct else "mr") if known else None,
            "presets": presets(known[0]) if known else [],
            "limits": {"points": 256, "boxes": 64},
            "next_rule": RULE_WORDS[DEFAULT_RULE],
        }

    @router.get("/cases")
    def cases() -> dict[str, Any]:
        return {"cases": [case_row(bench, key) for key in bench.cases]}

    @router.get("/cases/{key}")
    def case(key: str) -> dict[str, Any]:
        return case_page(bench, key)

    @router.get("/cases/{key}/thumb", response_class=Response)
    def thumb(key: str) -> Response:
        return Response(draw_thumb(bench, bench.case(key)), media_type="image/png")

    @router.get("/cases/{key}/image/{axis}/{index}", responses=octets("int16 numbers"))
    def image(key: str, axis: int, index: int) -> Response:
        name = bench.case(key)
        picture = bench.voxels.slice(name, axis, index)
        return raw(picture, _sizes(bench, name, axis, picture.shape))

    @router.get("/cases/{key}/outline/{d}", responses=octets("uint8 numbers"))
    def outline(key: str, d: int) -> Response:
        found = bench.outlines.read(bench.case(key), d)
        return raw(found.mask, {"ETag": f'"{found.revision}"', "X-State": found.state})

    @router.put("/cases/{key}/outline/{d}", openapi_extra=_MASK_BODY)
    async def draw(
        key: str,
        d: int,
        request: Request,
        state: State = "outlined",
        seconds: float = Query(default=0.0, ge=0, le=86_400, allow_inf_nan=False),
        if_match: str | None = Header(default=None),
    ) -> dict[str, Any]:
        name = bench.case(key)
        revision = _revision(if_match)
        body = await request.body()
        return await run_in_threadpool(_draw, bench, name, d, body, state, seconds, revision)

    @router.put("/cases/{key}/tags")
    def tag(key: str, said: TagForm) -> dict[str, Any]:
        name = bench.case(key)
        info = bench.voxels.info(name)
        wanted = _tag(bench, said, info.shape[0])
        bench.tables.set_tag(name, said.class_, in_frame(wanted, info), said.revision)
        return {
            "tags": tags_of(bench, name, info),
            "tags_revision": bench.tables.tags_revision(name),
        }

    @router.get("/cases/{key}/mask/{axis}/{index}", responses=octets("uint8 numbers"))
    def mask(
        key: str,
        axis: int,
        index: int,
        layer: Layer = "outline",
        round: int | None = Query(default=None, ge=1, le=99),
    ) -> Response:
        name = bench.case(key)
        labels = labels_of(bench, name, layer, round)
        picture = cut(labels, axis, index)
        return raw(picture, _sizes(bench, name, axis, picture.shape))

    @router.post("/cases/{key}/accept")
    def accepted(key: str, said: AcceptForm) -> dict[str, Any]:
        name = bench.case(key)
        if not said.accepted:
            take_back(bench, name)
        else:
            accept(bench, name, _round(bench, name, said.round))
        return case_row(bench, key)

    return router


def labels_of(
    bench: Bench, case: str, layer: Layer, number: int | None
) -> UInt8[np.ndarray, "d h w"]:
    """(d, h, w) of a layer. Raises `NotThere` for a prediction that is not there."""
    if layer == "outline":
        return bench.outlines.whole(case)
    return bench.predicted.mask(case, _round(bench, case, number))


def _round(bench: Bench, case: str, number: int | None) -> int:
    chosen = bench.predicted.default() if number is None else number
    if chosen is None or not bench.predicted.has(case, chosen):
        raise NotThere("no mask of that round")
    return chosen


def _draw(
    bench: Bench, case: str, d: int, body: bytes, state: State, seconds: float, revision: int
) -> dict[str, Any]:
    info = bench.voxels.info(case)
    h, w = info.shape[1:]
    if not 0 <= d < info.shape[0]:
        raise NotThere("no slice of that number")
    if len(body) > 4 * h * w + _MORE:
        raise BadRequest(413, "this is larger than a slice of the scan")
    if not body and state != "outlined":
        body = bytes(h * w)
    if len(body) != h * w:
        raise BadRequest(422, f"{len(body)} numbers, and the slice has {h} x {w}")
    mask = np.frombuffer(body, np.uint8).reshape(h, w)
    try:
        found = bench.outlines.write(case, d, mask, state, revision)
    except ValueError as error:
        raise BadRequest(422, str(error)) from error
    take_back(bench, case)
    if seconds > 0:
        bench.tables.add_seconds(case, info.turn(d), seconds)
    return {"revision": found.revision, "state": found.state}


def _revision(if_match: str | None) -> int:
    if if_match is None:
        raise BadRequest(428, "which revision is replaced?", "send the header If-Match")
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise BadRequest(422, 'If-Match is a revision, such as "12"')
    return int(text)


def _tag(bench: Bench, said: TagForm, depth: int) -> Tag:
    if said.class_ not in bench.classes:
        raise BadRequest(422, "no structure of that name")
    if said.absent:
        if said.first is not None or said.last is not None:
            raise BadRequest(422, "what is not in the scan has no slices")
        return None
    for end in (said.first, said.last):
        if end is not None and end >= depth:
            raise BadRequest(422, f"the scan has {depth} slices")
    if said.first is not None and said.last is not None and said.first > said.last:
        raise BadRequest(422, "the first slice comes after the last")
    return said.first, said.last


def _sizes(bench: Bench, case: str, axis: int, shape: tuple[int, ...]) -> dict[str, str]:
    spacing = bench.voxels.info(case).spacing_mm
    row, column = (spacing[other] for other in range(3) if other != axis)
    return {
        "X-Rows": str(shape[0]),
        "X-Columns": str(shape[1]),
        "X-Row-Mm": f"{row:.6g}",
        "X-Column-Mm": f"{column:.6g}",
    }


_MASK_BODY = {
    "requestBody": {
        "content": {MASK: {"schema": {"type": "string", "format": "binary"}}},
        "required": False,
    }
}
