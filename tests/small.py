"""A network with every kind of part, small enough to build in each test."""

from dataclasses import replace

import torch

from rethined_export.models.rethined import Rethined, RethinedConfig, Variant, preset_config

#: Widths that all differ, so that a feature stage can be told from its channels.
WIDTHS = (16, 24, 32, 40, 48)


def small_config(variant: Variant = "paper", **changes: object) -> RethinedConfig:
    config = replace(
        preset_config("mobile", variant),
        widths=WIDTHS,
        blocks=(1, 1, 2, 2, 1),
        branches=2,
        squeeze_excite=(0, 0, 0, 1, 1),
        decoder_widths=(20, 16, 12, 8),
        d_k=16,
    )
    return replace(config, **changes)


def small_model(config: RethinedConfig, seed: int = 0) -> Rethined:
    """Random weights and batch-norm statistics, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Rethined(config)
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    return model.eval().requires_grad_(False)
