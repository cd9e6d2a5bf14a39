"""Training and prediction."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from fewmask.workbench.bench import Bench, NotThere
from fewmask.workbench.rounds import Running
from fewmask.workbench.routes.answers import BadRequest, Form


class RoundForm(Form):
    """How long a round may train."""

    minutes: int | float = Field(gt=0, le=1440)


def routes(bench: Bench) -> APIRouter:
    """One round at a time, as a process of its own."""
    router = APIRouter(prefix="/api")

    def existing(number: int) -> int:
        if number not in bench.rounds.numbers():
            raise NotThere("no round of that number")
        return number

    @router.get("/rounds")
    def rounds() -> dict[str, Any]:
        found: dict[str, Any] = bench.rounds.as_dict()
        return found

    @router.post("/rounds")
    def begin(said: RoundForm) -> dict[str, Any]:
        try:
            number = bench.rounds.begin(float(said.minutes))
        except Running as error:
            raise _busy() from error
        return _line(bench, number)

    @router.post("/rounds/{number}/stop")
    def stop(number: int) -> dict[str, Any]:
        bench.rounds.stop(existing(number))
        return _line(bench, number)

    @router.post("/rounds/{number}/go-on")
    def go_on(number: int) -> dict[str, Any]:
        try:
            bench.rounds.go_on(existing(number))
        except Running as error:
            raise _busy() from error
        return _line(bench, number)

    @router.post("/rounds/{number}/default")
    def choose(number: int) -> dict[str, Any]:
        if bench.rounds.state(existing(number))["state"] != "done":
            raise BadRequest(409, "this round has no masks yet")
        bench.rounds.choose(number)
        return _line(bench, number)

    return router


def _line(bench: Bench, number: int) -> dict[str, Any]:
    line: dict[str, Any] = bench.rounds.line(number)
    return line


def _busy() -> BadRequest:
    return BadRequest(409, "a round is at work", "wait for it to end, or stop it")
