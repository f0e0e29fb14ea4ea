"""Lets a torchvision for another build of torch be imported; nnU-Net needs none of its kernels."""

import torch

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", SIGNATURE)
