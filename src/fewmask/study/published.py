"""Numbers that papers print, on their own data. They stand beside ours, never among them."""

SAM_MIX_SOURCE = "LiTS / TotalSegmentator, published"
SAM_MIX = {
    ("unet", "full"): ("0.897 ± 0.010, 13.5 ± 1.3", "0.669 ± 0.055, 29.6 ± 0.1"),
    ("nnunet", "full"): ("0.863 ± 0.034, 21.4 ± 1.4", "0.645 ± 0.013, 38.5 ± 0.0"),
    ("trans_unet", "full"): ("0.889 ± 0.005, 12.7 ± 2.1", "0.642 ± 0.024, 42.8 ± 0.0"),
    ("multimix", "few"): ("0.627 ± 0.007, 21.5 ± 1.9", "0.159 ± 0.196, 98.0 ± 0.1"),
    ("sam_pp", "0 slices"): ("0.441 ± 0.012, 67.6 ± 1.5", "0.334 ± 0.011, 72.2 ± 1.3"),
    ("sam_pp", "5 slices"): ("0.754 ± 0.006, 36.5 ± 0.5", "0.593 ± 0.007, 54.8 ± 0.5"),
    ("sam_pp", "50 slices"): ("0.726 ± 0.005, 31.0 ± 0.0", "0.579 ± 0.008, 46.5 ± 0.0"),
    ("sam_pp", "100 slices"): ("0.763 ± 0.003, 26.5 ± 0.1", "0.605 ± 0.004, 40.3 ± 0.1"),
    ("sam_mix", "5 slices"): ("0.919 ± 0.002, 15.1 ± 0.3", "0.807 ± 0.002, 17.6 ± 0.1"),
    ("sam_mix", "50 slices"): ("0.948 ± 0.002, 9.8 ± 0.0", "0.923 ± 0.004, 11.2 ± 0.0"),
    ("sam_mix", "100 slices"): ("0.941 ± 0.001, 14.7 ± 0.1", "0.921 ± 0.001, 12.9 ± 0.0"),
}
"""(method, budget) -> (in domain, cross-domain), each Dice and Hausdorff distance (Ward and Imran, ISBI 2025, Table 1)."""


def sam_mix_published(method: str, budget: str) -> str:
    """The table's cell for this method and budget, or nothing. Whole masks stand for full supervision, slices for few."""
    kind = "full" if budget.endswith(("volume", "volumes")) else "few"
    home, other = SAM_MIX.get((method, budget)) or SAM_MIX.get((method, kind)) or ("", "")
    return f"{home} / {other}" if home else ""
