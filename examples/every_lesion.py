"""What `balance_lesions` changes: how much of the pull each lesion of an image has."""

import torch
from torch import Tensor

from boundaryloss import LogBoundaryLoss


def share_of(loss: LogBoundaryLoss, labels: Tensor, lesion: Tensor) -> float:
    """Return the lesion's share of the gradient inside, for an undecided network."""
    logits = torch.zeros(1, 2, *labels.shape[1:]).requires_grad_()
    loss(logits, labels).backward()
    pull = -logits.grad[:, 1].clamp(max=0)
    return float(pull[lesion].sum() / pull.sum())


def main() -> list[float]:
    """Print the shares, and return the balanced ones."""
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    boxes = {
        "2 pixels": (slice(5, 6), slice(5, 7)),
        "9 pixels": (slice(20, 23), slice(40, 43)),
        "16 pixels": (slice(40, 44), slice(10, 14)),
    }
    for box in boxes.values():
        labels[0][box] = 1
    shares = []
    for name, box in boxes.items():
        lesion = torch.zeros_like(labels, dtype=torch.bool)
        lesion[0][box] = True
        plain, balanced = (
            share_of(LogBoundaryLoss(balance_lesions=on), labels, lesion) for on in (False, True)
        )
        shares.append(balanced)
        print(f"{name:>10}: {plain:6.1%} of the pull, balanced {balanced:6.1%}")
    return shares


if __name__ == "__main__":
    main()
