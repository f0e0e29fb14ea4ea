"""`LogBoundaryLoss` on the GPU against the CPU."""

import pytest
import torch
from gpu import captured, on_gpu

from boundaryloss import LogBoundaryLoss
from boundaryloss.losses import lesions

SHAPES = [(3, 4, 130, 257), (2, 2, 65, 70, 33)]


def make(shape, seed=0):
    """Logits, and labels in which one voxel in six is no background: components of all sizes."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, shape[1], (shape[0], *shape[2:]), generator=g)
    return 3 * torch.randn(shape, generator=g), labels * (torch.rand(labels.shape, generator=g) < 1 / 6)


def value_and_gradient(loss, logits, labels):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return value.detach(), logits.grad


@on_gpu
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("balance_lesions", [False, True])
def test_log_loss_on_the_gpu_is_that_of_the_cpu(shape, balance_lesions, device):
    loss, (logits, labels) = LogBoundaryLoss(balance_lesions=balance_lesions), make(shape)
    value, gradient = value_and_gradient(loss, logits.to(device), labels.to(device))
    expected, slope = value_and_gradient(loss, logits, labels)
    torch.testing.assert_close(value.cpu(), expected)
    torch.testing.assert_close(gradient.cpu(), slope, rtol=1e-4, atol=1e-4 * float(slope.abs().max()))


@on_gpu
@pytest.mark.parametrize("balance_lesions", [False, True])
def test_log_loss_on_the_gpu_waits_for_nothing_and_is_captured_in_a_cuda_graph(balance_lesions, device):
    loss = LogBoundaryLoss(balance_lesions=balance_lesions)
    logits, labels = (t.to(device) for t in make(SHAPES[0]))
    graph, value = captured(loss, logits, labels)
    fresh, others = (t.to(device) for t in make(SHAPES[0], seed=5))
    logits.data.copy_(fresh)
    labels.copy_(others)
    graph.replay()
    torch.cuda.set_sync_debug_mode("error")
    try:
        expected, slope = value_and_gradient(loss, fresh, others)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(logits.grad, slope)


@on_gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_lesion_factors_on_the_gpu_are_those_of_the_cpu(shape, device):
    inside = make(shape)[1][:, None] > 0
    sizes = torch.rand(inside.shape, generator=torch.Generator().manual_seed(1)) + 0.01
    ours = lesions.lesion_factors(sizes.to(device), inside.to(device))
    torch.testing.assert_close(ours.cpu(), lesions.lesion_factors(sizes, inside), rtol=1e-6, atol=0)
