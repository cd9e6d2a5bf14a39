"""`fewmask label`."""

import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.reading import reads_scans
from fewmask.core.errors import BadConfig, Interrupted
from fewmask.core.words import count

if TYPE_CHECKING:
    from fewmask.prepare.options import ScanOptions

_SERVER = "Server"
_HERE = ("127.0.0.1", "::1", "localhost")


@verb(
    (
        "fewmask label scans --label liver",
        "fewmask label scans --label liver=6 --label kidney --out work --no-browser",
    )
)
@reads_scans
def label(
    context: typer.Context,
    scans: "ScanOptions",
    data: Path = typer.Argument(..., help="Folder of scans; it is never written to."),
    label: list[str] = typer.Option(
        [],
        "--label",
        help=(
            "A structure to outline; liver=6 where masks that are there already call it 6; may be "
            "repeated."
        ),
    ),
    out: Path | None = typer.Option(
        None, help="Folder for what you draw; default: beside the data, as DATA-workbench."
    ),
    tags: Path | None = typer.Option(
        None, help="Table case,class,first_slice,last_slice to begin with."
    ),
    slices_from: int = options.SLICES_FROM,
    port: int = typer.Option(
        8321,
        min=0,
        max=65535,
        help="Port of the page, or the next that is free; 0: any.",
        rich_help_panel=_SERVER,
    ),
    no_browser: bool = typer.Option(
        False, "--no-browser", help="Print the address, open no page.", rich_help_panel=_SERVER
    ),
    host: str = typer.Option(
        "127.0.0.1",
        help="Address to listen at; others than this machine's own need --i-know.",
        rich_help_panel=_SERVER,
    ),
    i_know: bool = typer.Option(
        False,
        "--i-know",
        help="Listen at --host: whoever reads the network reads the scans and the key.",
        rich_help_panel=_SERVER,
    ),
    dev: bool = typer.Option(False, "--dev", hidden=True, help="With /openapi.json."),
) -> None:
    """Outline slices on a page in your browser; nothing leaves this machine."""
    from fewmask.io.extra import need

    for module in ("fastapi", "uvicorn"):
        need(module, "workbench", "the page of `fewmask label`")
    import secrets

    from fewmask.prepare.mapping import parse_labels
    from fewmask.workbench.bench import open_bench
    from fewmask.workbench.folder import WorkOptions
    from fewmask.workbench.guard import LOCAL
    from fewmask.workbench.server import bind, guarded, serve, tunnel_line

    console: Console = context.obj
    options.existing(data, "folder")
    if tags is not None:
        options.existing(tags, "table of tags")
    _check_host(host, i_know)
    wanted = WorkOptions(data, parse_labels(label), out, tags, slices_from, scans)
    with open_bench(wanted) as bench:
        for note in bench.notes:
            console.hint(f"note: {note}")
        for problem in bench.problems:
            console.warn(f"\n{problem}")
        listener = bind(host, port)
        number = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        local = host in _HERE
        named = LOCAL if local else (*LOCAL, host.lower())
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown if local else '127.0.0.1'}:{number}/#{token}"
        guard = guarded(bench, token, dev, named, any_address=not local)

        def tell() -> None:
            scans_there = count(len(bench.cases), "scan")
            console.say(f"{scans_there}; what you draw goes to {bench.folder.root}")
            console.say(f"open  {url}")
            console.say(f"from another machine first type there:  {tunnel_line(number)}")
            console.hint("Ctrl-C ends it; every stroke is saved at once")
            out = str(bench.folder.root)
            console.result({"url": url, "out": out, "scans": len(bench.cases)})

        with _page(url, bench.folder.root, not no_browser):
            asked = serve(guard, listener, tell)
        root = bench.folder.root
    raise Interrupted(
        "stopped by a signal",
        where=str(root),
        did="everything you drew is saved",
        fix="the same command opens it again",
        exit_code=asked.exit_code,
        code="F02",
    )


def _check_host(host: str, i_know: bool) -> None:
    if host not in _HERE and not i_know:
        raise BadConfig(
            f"{host} is not this machine's own address: others could read the scans on their way",
            where="what goes over the network is not encrypted, the key of the page neither",
            fix="leave `host` out, and reach this machine with `ssh -L`, as the line that is "
            "printed says; or add `i_know=True` behind a tunnel or proxy with TLS",
            code="X01",
        )


@contextmanager
def _page(url: str, root: Path, wanted: bool) -> Iterator[None]:
    """Open the page, if there is a browser and a screen, while the block runs.

    A file leads there, which this user alone may read: others see the command lines of programs.
    """
    screen = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not (wanted and screen):
        yield
        return
    path = root / "open.html"
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f'<meta http-equiv="refresh" content="0;url={escape(url)}">')
    try:
        with suppress(webbrowser.Error):  # the address is printed
            webbrowser.open(path.as_uri())
        yield
    finally:
        path.unlink(missing_ok=True)
