"""`fewmask weights`."""

import shlex
from pathlib import Path

import typer

from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.options import one_of, refuse_idle
from fewmask.core.errors import BadConfig


@verb(("fewmask weights list", "fewmask weights import sam_vit_b_01ec64.pth"))
def weights(
    context: typer.Context,
    action: str = typer.Argument(..., help="list, fetch NAME, import PATH, or info PATH."),
    what: str | None = typer.Argument(
        None, help="A name of the ledger (fetch), or a file or folder (import, info)."
    ),
    name: str | None = typer.Option(None, help="Name to give imported weights."),
) -> None:
    """SAM weights: list those known, fetch or import them, say what a file is. Of these only
    `fetch` touches the network.
    """
    console: Console = context.obj
    one_of("action", action, ("list", "fetch", "import", "info"))
    if action in ("list", "info"):
        refuse_idle(context, ("name",), "it is for import and fetch")
    if action == "list":
        refuse_idle(context, ("what",), "all are listed")
        _list(console)
        return
    if what is None:
        raise BadConfig(
            f"{action} what?",
            fix=f"fewmask weights {action} sam-vit-b, or a path",
            code="C02",
        )
    {"fetch": _fetch, "import": _import, "info": _info}[action](console, what, name)


def _list(console: Console) -> None:
    from fewmask.io.ledger import list_weights

    rows = list_weights()
    for row in rows:
        where = "here" if row["here"] else "not here"
        console.say(
            f"{row['name']:14} {row['encoder']:8} {row['mib']:5} MiB  {where:9} "
            f"{row['licence']:11} {row['trained on']}"
        )
    console.result({"weights": rows})


def _fetch(console: Console, what: str, name: str | None) -> None:
    from fewmask.io.fetch import fetch
    from fewmask.io.ledger import entry, make_cache

    wanted = entry(what)
    console.say(f"fetching {wanted.address}, {wanted.bytes // 2**20} MiB")
    path = fetch(
        wanted,
        make_cache(),
        console.count_bytes("fetching"),
    )
    _import(console, str(path), name or wanted.name)
    path.unlink()


def _import(console: Console, what: str, name: str | None) -> None:
    from fewmask.benchmark.weights_import import import_weights

    done = import_weights(Path(what), name)
    console.say(f"{done.name}: {done.numbers / 1e6:.1f} M weights in {done.path}")
    console.hint(
        f"to use it, give `fewmask train` --encoder {done.encoder} "
        f"--set {shlex.quote(f'weights={done.name}')}"
    )
    console.result(vars(done))


def _info(console: Console, what: str, name: str | None) -> None:
    from fewmask.benchmark.weights_import import describe_weights
    from fewmask.io.ledger import locate

    record = describe_weights(Path(what) if Path(what).exists() else locate(what))
    for key, value in record.items():
        console.say(f"{key:18} {value}")
    console.result(record)
