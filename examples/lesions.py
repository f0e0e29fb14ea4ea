"""What the examples share: small bright lesions in noise, a small network, and the Dice of a prediction."""

import torch
from monai.networks.nets import UNet
from torch import Tensor


def lesions(count: int = 32, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images `(count, 1, size, size)` and labels of that shape: a disc of 13 pixels in each."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randint(3, size - 3, (2, count, 1, 1, 1), generator=generator)
    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    labels = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= 4).long()
    noise = torch.randn(count, 1, size, size, generator=generator)
    return noise + 3 * labels, labels


def network(classes: int = 2) -> UNet:
    """A small 2-D U-Net, the same at every call."""
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=1, out_channels=classes, channels=(8, 16, 32), strides=(2, 2))


def dice(prediction: Tensor, labels: Tensor) -> float:
    """Dice of all pixels together."""
    return float(2 * (prediction & (labels == 1)).sum() / (prediction.sum() + labels.sum()))
