"""The tables of docs/results.md from experiments/rows/ct-liver.csv: every value, means with intervals, paired differences.

python experiments/ct_liver_table.py
"""

import csv
import math
from pathlib import Path

from fewmask.evaluate.intervals import compare, summarise
from fewmask.evaluate.scores import CaseScore

ROWS = Path(__file__).parent / "rows" / "ct-liver.csv"
Key = tuple[str, ...]
"""(method with settings, slices, minutes, steps)."""


def main() -> None:
    """Print markdown."""
    with ROWS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for domain in dict.fromkeys(row["domain"] for row in rows):
        groups: dict[Key, list[dict[str, str]]] = {}
        for row in rows:
            if row["domain"] == domain:
                name = f"{row['method']} {row['settings']}".strip()
                groups.setdefault((name, row["slices"], row["minutes"], row["steps"], row["prompts"]), []).append(row)
        print(f"\n### {domain}\n")
        show_values(groups)
        show_differences(groups)


def show_values(groups: dict[Key, list[dict[str, str]]]) -> None:
    """One line per run, one column per scan."""
    cases = sorted({row["case"] for group in groups.values() for row in group})
    print("| method | prompts | steps | " + " | ".join(cases) + " | Dice, mean (95 %) | NSD 2 mm | HD95 mm | ASSD mm |")
    print("|---" * (len(cases) + 7) + "|")
    for (name, _, _, steps, prompts), group in groups.items():
        dice = {row["case"]: float(row["dice"]) for row in group}
        metrics = summarise([score(row) for row in group])[0].metrics
        d = metrics["dice"]
        values = " | ".join(f"{dice.get(case, math.nan):.3f}" for case in cases)
        rest = f"{metrics['nsd'].mean:.2f} | {metrics['hd95_mm'].mean:.1f} | {metrics['assd_mm'].mean:.1f}"
        print(f"| {name} | {prompts} | {steps} | {values} | **{d.mean:.3f}** ({d.low:.3f} to {d.high:.3f}) | {rest} |")


def show_differences(groups: dict[Key, list[dict[str, str]]]) -> None:
    """Paired difference in Dice of the first automatic run against each other automatic run."""
    automatic = [(key[0], [score(row) for row in group]) for key, group in groups.items() if key[-1] == "automatic"]
    print()
    for name, other in automatic[1:]:
        d = compare(automatic[0][1], other)
        verdict = "" if d.decided else "; not decided"
        print(
            f"- {automatic[0][0]} minus {name}: {d.interval.mean:+.3f} ({d.interval.low:+.3f} to {d.interval.high:+.3f}), "
            f"higher in {d.n_higher} of {d.n} patients{verdict}"
        )


def score(row: dict[str, str]) -> CaseScore:
    """A row as the package's own type."""
    numbers = {name: float(row[name]) for name in ("dice", "nsd", "hd95_mm", "hd_mm", "assd_mm", "volume_error_ml")}
    rest = {"case": row["case"], "label": "liver", "status": row["status"], "prompts": row["prompts"]}
    return CaseScore(**rest, **numbers, nsd_tolerance_mm=2.0, pred_ml=math.nan, truth_ml=math.nan)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
