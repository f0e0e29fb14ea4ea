"""Contour distances on the GPU against the CPU."""

from dataclasses import fields

import pytest
import torch
from gpu import on_gpu

from boundaryloss.metrics import contour_distances


@on_gpu
@pytest.mark.parametrize("contour", ["faces", "centers", "surfels"])
@pytest.mark.parametrize("shape", [(2, 40, 57), (2, 17, 24, 33)])
def test_contour_distances_on_the_gpu_are_those_of_the_cpu(contour, shape, device):
    g = torch.Generator().manual_seed(0)
    space = shape[1:]
    truth = (torch.rand(shape, generator=g) < 0.02).to(torch.uint8)
    prediction = torch.roll(truth, 1, -1) | (torch.rand(shape, generator=g) < 0.005)
    prediction[1] = 0  # missed
    spacing = (2.0, 0.5, 0.7)[: len(space)]
    options = {"num_classes": 2, "spacing": spacing, "contour": contour}
    ours = contour_distances(prediction.to(device), truth.to(device), **options)
    theirs = contour_distances(prediction, truth, **options)
    for field in fields(ours):
        value = getattr(ours, field.name)
        assert value.device.type == "cuda"
        torch.testing.assert_close(
            value.cpu(), getattr(theirs, field.name), rtol=1e-5, atol=0, equal_nan=True
        )
