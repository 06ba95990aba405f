"""nnU-Net models of a few kilobytes in the layout of TotalSegmentator's weights, which call bright voxels L3."""

from __future__ import annotations

import json
from pathlib import Path

BRIGHT_HU, DARK_HU = 700, 0
_PATCH_VOXELS = 64
_ARCHITECTURE = {
    "n_stages": 2,
    "features_per_stage": [4, 4],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
_NETWORK = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


def make_models(folder: Path) -> None:
    """All models of the task ``total``; those without an L3 find nothing."""
    from totalsegmentator.bin.totalseg_download_weights import TASK_TO_ID
    from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS
    from totalsegmentator.map_to_binary import class_map, class_map_5_parts, map_taskid_to_partname_ct

    modes = TASK_CONFIGS["total"]["sub_modes"]
    rough = modes["fastest"]
    for number in TASK_TO_ID["total"]:
        if number == rough["task_id"]:
            classes, mode = class_map["total"], rough
        else:
            classes, mode = class_map_5_parts[map_taskid_to_partname_ct[number]], modes["default"]
        name = TASK_ID_WEIGHTS_CONFIGS[number]["foldername"]
        _make_model(
            folder / name / f"{mode['trainer']}__nnUNetPlans__3d_fullres", classes, mode["resample"], mode["trainer"]
        )


def _make_model(folder: Path, classes: dict[int, str], spacing_mm: float, trainer: str) -> None:
    import torch

    (folder / "fold_0").mkdir(parents=True)
    resampling: dict[str, object] = {}
    for what in ("data", "seg", "probabilities"):
        resampling[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{what}_kwargs"] = {
            "is_seg": what == "seg", "order": 1, "order_z": 0, "force_separate_z": None
        }  # fmt: skip
    plans = {
        "dataset_name": "tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [spacing_mm] * 3,
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 350.0, "std": 350.0, "percentile_00_5": -1000.0, "percentile_99_5": 1500.0}
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "tiny",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [_PATCH_VOXELS] * 3,
                "spacing": [spacing_mm] * 3,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "architecture": {
                    "network_class_name": _NETWORK,
                    "arch_kwargs": _ARCHITECTURE,
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                **resampling,
            }
        },
    }
    labels = {"background": 0, **{name: value for value, name in classes.items()}}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", "numTraining": 1}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": _weights(len(labels), labels.get("vertebrae_L3")),
        "trainer_name": trainer,
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _weights(n_labels: int, bright_label: int | None) -> dict[str, object]:
    """Lets the brightness pass to one label's logit, which wins where it is half a standard deviation above the mean."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    network = PlainConvUNet(
        1, 2, [4, 4], torch.nn.Conv3d, 3, [1, 2], [1, 1], n_labels, [1], True,
        torch.nn.InstanceNorm3d, {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True},
    )  # fmt: skip
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                module.weight.zero_()
                module.bias.zero_()
        network.encoder.stages[0][0].convs[0].conv.weight[0, 0, 1, 1, 1] = 1.0
        # The decoder sees what comes up from below first, then what the encoder kept.
        network.decoder.stages[0].convs[0].conv.weight[0, 4, 1, 1, 1] = 1.0
        head = network.decoder.seg_layers[-1]
        head.bias[0] = 10.0
        if bright_label is not None:
            head.weight[bright_label, 0] = 20.0
    return dict(network.state_dict())
