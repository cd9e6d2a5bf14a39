"""Numbers that papers print, on their own data. They stand beside ours, never among them."""

SOURCES = {
    "sam-mix": "published (other data, other network): LiTS / TotalSegmentator",
    "la-2018": "published (other data, other network): LA, 80 scans at full resolution",
}
"""Protocol -> head of its column."""
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
"""(method, budget) -> (in domain, cross-domain), each Dice and Hausdorff distance (Ward and Imran,
ISBI 2025, Table 1).
"""
LA_2018 = {
    ("vnet", "", "1 volume"): "0.180, 0.129, 44.6, 19.7",
    ("mean_teacher", "", "1 volume"): "0.297, 0.182, 42.6, 18.6",
    ("ac_mt", "", "1 volume"): "0.726, 0.583, 33.2, 10.4",
    ("canvas_sam", "", "1 volume"): "0.748",
    ("cfr", "", "1 volume"): "0.744, 0.615, 25.9, 6.3",
    ("cfr", "term=ac_mt", "1 volume"): "0.768, 0.647, 28.1, 8.5",
    ("sfr_plus", "", "1 volume"): "0.810, 0.694, 19.8, 5.1",
    ("sfr_plus", "term=ac_mt", "1 volume"): "0.837, 0.728, 18.6, 4.5",
}
"""(method, term, budget) -> Dice, Jaccard, 95HD, ASD (CFR/SFR, Tables VII and XII; 4 and 8 volumes
are in no table of it).
"""

_STILL = {
    "sam-mix": (
        "encoder=", "tune=lora", "dense_prompt=true", "coarse=cam",
        "tag_loss=focal", "guide_weight=0.0", "choose=score", "ce_weight=0.0", "score_weight=0.0",
        "warmup_prompts=0",
        "steps_per_epoch=", "memory_gb=", "mirror=",
    ),
    "la-2018": (
        "patch=", "turns=", "canvas=", "encoder=", "tune=lora", "term=", "optimiser=sgd",
        "norm=batch",
        "joint_pass=true",
        "levels=recipe", "across=false", "head_lr=",
        "finetune.levels=recipe", "finetune.across=false", "finetune.head_lr=",
        "finetune.patch=", "finetune.turns=", "finetune.canvas=", "finetune.encoder=",
        "finetune.tune=lora",
    ),
}  # fmt: skip
"""Protocol -> beginnings of settings with which a method still is the paper's: sizes, its term, and
how the paper learned.
"""

_OWN_CLASSIFIER = ("sam_mix", "ada_sam", "multimix")
"""Methods that learn in their papers what a slice holds."""


def published(protocol: str, method: str, settings: str, budget: str) -> str:
    """The literature's cell for this method, its settings and budget, or nothing: an ablation is in
    none of these tables.

    In the table of SAM-Mix whole masks stand for full supervision, slices for few.
    """
    still = _STILL[protocol]
    if method in _OWN_CLASSIFIER:  # another method's is ours
        still = (*still, "presence=")
    if not all(word.startswith(still) for word in settings.split()):
        return ""
    if protocol == "la-2018":
        term = " ".join(word for word in settings.split() if word.startswith("term="))
        return LA_2018.get((method, term, budget), "")
    kind = "full" if budget.endswith(("volume", "volumes")) else "few"
    home, other = SAM_MIX.get((method, budget)) or SAM_MIX.get((method, kind)) or ("", "")
    return f"{home} / {other}" if home else ""
