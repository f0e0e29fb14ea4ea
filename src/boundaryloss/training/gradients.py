"""How hard each term pulls: loss values cannot be compared, gradients can."""

import torch
from torch import Tensor


def term_gradients(logits: Tensor, region: Tensor, boundary: Tensor) -> dict[str, Tensor]:
    """Norms of the gradients of both unweighted terms at the logits; the graph stays for training."""
    return {
        name: torch.autograd.grad(term, logits, retain_graph=True)[0].norm()
        for name, term in (("region_gradient", region), ("boundary_gradient", boundary))
    }
