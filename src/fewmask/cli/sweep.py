"""`fewmask sweep`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.errors import PartlyDone
from fewmask.core.words import command, count


@verb(
    (
        "fewmask sweep experiments/ct-liver.toml --data scans",
        "fewmask sweep experiments/ct-liver.toml --data scans --part 2/4",
    )
)
def sweep(
    context: typer.Context,
    plan: Path = typer.Argument(..., help="Sweep file."),
    data: Path = typer.Option(
        ..., envvar="FEWMASK_DATA", help="Folder to which the file's paths are relative."
    ),
    work: Path | None = typer.Option(None, help="Folder for the runs; default: runs/NAME."),
    rows: Path | None = typer.Option(
        None, help="Table of finished runs; default: rows/NAME.csv beside the file."
    ),
    part: str = typer.Option(
        "1/1", help="i/n: every n-th run from the i-th on, for several machines."
    ),
    device: str | None = options.DEVICE,
    threads: int | None = options.THREADS,
    log: str | None = options.LOG,
    ray: str | None = options.RAY,
    dry: bool = typer.Option(
        False, "--dry", help="Check the file, list its runs and which are done, stop."
    ),
) -> None:
    """Train, predict and score a table of runs. The same command resumes after an interruption;
    several processes may share one sweep.
    """
    from fewmask.benchmark.compare import per_run
    from fewmask.benchmark.plan import check_methods, plan_means, plan_runs, read_plan
    from fewmask.benchmark.rows import read_rows
    from fewmask.benchmark.sweep import (
        check_inputs,
        check_outputs,
        check_rows,
        run_sweep,
        runs_left,
    )
    from fewmask.io.tables import write_csv

    console: Console = context.obj
    asked = read_plan(options.existing(plan, "sweep file"))
    i, n = options.part("--part", part)
    mine = slice(i - 1, None, n)
    names = [run.name for run in plan_runs(asked)[mine]]
    names += [mean.run.name for mean in plan_means(asked)[mine]]
    rows = rows or plan.parent / "rows" / f"{plan.stem}.csv"
    if dry:
        check_methods(asked)
        check_inputs(asked, data)
        check_rows(asked, rows)
        left = runs_left(asked, rows)
        console.say("\n".join(name if name in left else f"{name} (done)" for name in names))
        console.result({"runs": names, "left": [name for name in names if name in left]})
        return
    from fewmask.blocks.device import choose_device

    place = choose_device(device)  # one that is not there would fail every run
    work = work or Path("runs") / plan.stem
    data = options.existing(data, "folder")
    if ray is None:
        summary = run_sweep(
            asked, data, work, rows, part=(i, n), device=device, threads=threads, log=log,
            say=console.hint, progress=console.show_training,
        )  # fmt: skip
    else:
        from fewmask.benchmark.cluster import on_ray

        check_outputs(asked, data, work, rows)
        data, work, rows = data.absolute(), work.absolute(), rows.absolute()
        with on_ray(ray, work, [data], threads, place.type == "cuda") as spread:
            summary = run_sweep(
                asked, data, work, rows, part=(i, n), device=device, threads=threads, log=log,
                spread=spread, say=console.hint,
            )  # fmt: skip
    write_csv(work / "sweep.csv", *per_run(read_rows(rows)))
    console.say(
        f"{count(len(summary.done), 'run')} done, {len(summary.there)} were there, "
        f"{len(summary.elsewhere)} running elsewhere, {len(summary.failed)} failed; "
        f"{rows}, one line per run in {work / 'sweep.csv'}"
    )
    console.hint(f"next: {command('compare', rows)}")
    console.result({**vars(summary), "rows": rows})
    for line in summary.failed:
        console.warn("\n" + options.explain(line))
    if summary.failed:
        raise PartlyDone(
            f"{len(summary.failed)} of {count(len(names), 'run')} failed, the others are done",
            where=[f"{line['case']}: {line['what']}" for line in summary.failed[:20]],
            did="they have no rows",
            fix="mend what they name and run the same command again",
        )
