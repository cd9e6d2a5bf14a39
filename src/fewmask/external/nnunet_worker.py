"""Runs in nnU-Net's own environment, where fewmask is not: `python nnunet_worker.py VERB SETTINGS`,
settings as JSON.

Lines that begin with the mark carry JSON to the process that started us; the rest is nnU-Net's own
talk. nnU-Net's classes are used as they are: all that is said from outside is what memory to plan
for and how long to train.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "fewmask "
DATASET = "Dataset001_fewmask"
PLANS = "nnUNetPlans"
PREPROCESSED = "nnUNet_preprocessed"


def plan(configuration: str, memory_gb: float, processes: int) -> None:
    """Fingerprint, plans and preprocessed data of the raw data set."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    extract_fingerprints([1], num_processes=processes, check_dataset_integrity=True)
    preprocess(
        [1],
        plan_experiments([1], gpu_memory_target_in_gb=memory_gb),
        (configuration,),
        (processes,),
    )


def fit(configuration: str, epochs: int, iterations: int, seed: int, device: str, out: str) -> None:
    """Train on all cases, or go on from the last whole epoch; the network's weights go to `out`."""
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from safetensors.torch import save_model

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  nnU-Net's augmentation draws from the global generators
    random.seed(seed)
    folder = Path(os.environ[PREPROCESSED]) / DATASET
    plans, dataset = (
        json.loads((folder / name).read_text()) for name in (f"{PLANS}.json", "dataset.json")
    )
    trainer = nnUNetTrainer(plans, configuration, "all", dataset, torch.device(device))
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
    # "all" has no cases kept aside: its validation looks at training slices and decides nothing.
    trainer.num_val_iterations_per_epoch = trainer.save_every = 1
    trainer.save_checkpoint = _whole(trainer.save_checkpoint)
    for name in ("checkpoint_final.pth", "checkpoint_latest.pth"):
        last = Path(trainer.output_folder) / name
        if last.exists():
            trainer.load_checkpoint(str(last))
            break
    end_epoch = trainer.on_epoch_end

    def end_and_tell() -> None:
        end_epoch()
        loss = float(trainer.logger.my_fantastic_logging["train_losses"][-1])
        print(MARK + json.dumps({"epoch": trainer.current_epoch, "loss": loss}))

    trainer.on_epoch_end = end_and_tell
    print(MARK + json.dumps({"epoch": trainer.current_epoch, "loss": None}))
    trainer.run_training()
    save_model(trainer.network.cpu(), out)  # its modules share tensors under several names


def ask(
    folder: str, weights: str, configuration: str, mirror: bool, device: str, image: str, out: str
) -> None:
    """The label map of one scan: sliding windows, Gaussian weights, and mirroring if asked for, as
    nnU-Net predicts.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from safetensors.torch import load_model

    plans = PlansManager(json.loads((Path(folder) / "plans.json").read_text()))
    dataset = json.loads((Path(folder) / "dataset.json").read_text())
    chosen = plans.get_configuration(configuration)
    network = nnUNetTrainer.build_network_architecture(
        chosen.network_arch_class_name,
        chosen.network_arch_init_kwargs,
        chosen.network_arch_init_kwargs_req_import,
        1,
        plans.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    load_model(network, weights)
    axes = tuple(range(len(chosen.patch_size)))
    predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device(device), allow_tqdm=False)
    predictor.manual_initialization(
        network, plans, chosen, [network.state_dict()], dataset, "nnUNetTrainer", axes
    )
    predictor.predict_from_files_sequential([[image]], [out.removesuffix(dataset["file_ending"])])


def _whole(save: Callable[[str], None]) -> Callable[[str], None]:
    """A checkpoint that exists is whole."""

    def save_whole(name: str) -> None:
        save(f"{name}.part")
        Path(f"{name}.part").replace(name)

    return save_whole


if __name__ == "__main__":
    verbs: dict[str, Callable[..., Any]] = {"plan": plan, "fit": fit, "ask": ask}
    verbs[sys.argv[1]](**json.loads(sys.argv[2]))
