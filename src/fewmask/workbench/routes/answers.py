"""Forms of requests, and answers that several routes give."""

from typing import Any

import numpy as np
from fastapi import Response
from jaxtyping import Shaped
from pydantic import BaseModel, ConfigDict, Field

_DEEP = 100_000


class Form(BaseModel):
    """A JSON body: nothing is turned into another type, and nothing may stand beside it."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TagForm(Form):
    """A tag: first and last slice d (null: not known yet), or absent from the scan."""

    class_: str = Field(alias="class", max_length=200)
    first: int | None = Field(default=None, ge=0, lt=_DEEP)
    last: int | None = Field(default=None, ge=0, lt=_DEEP)
    absent: bool = False
    revision: int = Field(ge=0, lt=2**53)


class AcceptForm(Form):
    """Is the mask of this round fine?"""

    accepted: bool
    round: int | None = Field(default=None, ge=1, le=99)


class BadRequest(Exception):
    """A request that cannot be meant."""

    def __init__(self, status: int, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.fix = status, message, fix


def raw(picture: Shaped[np.ndarray, "rows columns"], headers: dict[str, str]) -> Response:
    """Numbers of a slice, row after row, little end first."""
    numbers = np.ascontiguousarray(picture)
    little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
    return Response(little.tobytes(), media_type="application/octet-stream", headers=headers)


def octets(description: str) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI of `--dev`: an answer of bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": content}}
