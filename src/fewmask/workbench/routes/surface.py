"""Surfaces of structures."""

import numpy as np
from fastapi import APIRouter, Query, Response

from fewmask.workbench.bench import Bench
from fewmask.workbench.routes.answers import BadRequest, octets
from fewmask.workbench.routes.cases import Layer, labels_of
from fewmask.workbench.surface import find_surface


def routes(bench: Bench) -> APIRouter:
    """`GET .../surface`: positions as int16 triples, then normals as int8 triples."""
    router = APIRouter(prefix="/api")

    @router.get("/cases/{key}/surface", responses=octets("int16 triples, then int8 triples"))
    def surface(
        key: str,
        number: int = Query(alias="class", ge=1, le=254),
        layer: Layer = "prediction",
        round: int | None = Query(default=None, ge=1, le=99),
    ) -> Response:
        name = bench.case(key)
        if number > len(bench.classes):
            raise BadRequest(422, "no structure of that number")
        labels = labels_of(bench, name, layer, round)
        spacing = bench.voxels.info(name).spacing_mm
        places, normals = find_surface(np.asarray(labels), number, spacing)
        return Response(
            places.astype("<i2").tobytes() + normals.tobytes(),
            media_type="application/octet-stream",
            headers={"X-Count": str(len(places))},
        )

    return router
