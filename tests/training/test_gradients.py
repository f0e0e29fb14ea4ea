import pytest
import torch

from boundaryloss.training.model.gradients import gradient_norm


def test_gradient_norm_by_hand():
    logits = torch.tensor([3.0, 4.0], requires_grad=True)
    region, boundary = logits.square().sum() / 2, 2 * logits[0]
    assert (gradient_norm(region, logits), gradient_norm(boundary, logits)) == (5, 2)
    (region + boundary).backward()  # the graph is still there, and nothing was added to it
    assert logits.grad.tolist() == pytest.approx([5, 4])
