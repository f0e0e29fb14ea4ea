import pytest
import torch

from boundaryloss.training.gradients import term_gradients


def test_term_gradients_by_hand():
    logits = torch.tensor([3.0, 4.0], requires_grad=True)
    region, boundary = logits.square().sum() / 2, 2 * logits[0]
    norms = term_gradients(logits, region, boundary)
    assert (norms["region_gradient"], norms["boundary_gradient"]) == (5, 2)
    (region + boundary).backward()  # the graph is still there, and nothing was added to it
    assert logits.grad.tolist() == pytest.approx([5, 4])
