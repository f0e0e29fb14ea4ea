"""How hard each term pulls: loss values cannot be compared, gradients can."""

import torch
from torch import Tensor


def gradient_norm(term: Tensor, logits: Tensor) -> Tensor:
    """Compute the norm of the gradient of one unweighted term at the logits; the graph stays for training."""
    return torch.autograd.grad(term, logits, retain_graph=True)[0].norm()
