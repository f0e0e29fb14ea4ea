"""Generated brain-like slices with tiny lesions: the data of the demonstration, nothing to download.

A slice has a skull, grey and white matter and ventricles. Its lesions are bright discs of 1.7 to 3.4 pixels
radius in the white matter, about 0.35 % of the pixels. About ten look-alikes, the same discs, lie anywhere
else: in the cortex, in the ventricles, on the skull, outside the head. Only the place tells them apart.
"""

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

RADIUS = (1.7, 3.4)  # pixels
LOOKALIKES = (8, 12)
EMPTY = 0.2  # share of slices without a lesion
CLEARANCE = 1.0  # pixels between a disc and the border of the white matter, on either side

AIR, SKULL, FLUID, GREY, WHITE = range(5)
INTENSITY = np.array([0.04, 0.60, 0.13, 0.47, 0.35])  # as in FLAIR: fluid dark, grey matter above white
CONTRAST = (0.12, 0.40)  # of a disc above what is around it: some are hardly seen


def phantom(count: int, *, seed: int, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Draw slices.

    Args:
        count: Number of slices.
        seed: The same seed gives the same slices; a longer series begins with the shorter one.
        size: Height and width in pixels, at least 64. The lesions keep their radius and grow in number.

    Returns:
        Images (count, 1, size, size), float32 in [0, 1], and labels (count, size, size), uint8, 1 for lesion.
    """
    if count < 0 or size < 64:
        raise ValueError(f"phantom: count={count}, size={size}; count must be >= 0 and size >= 64")
    images = np.empty((count, 1, size, size), np.float32)
    labels = np.empty((count, size, size), np.uint8)
    for index, state in enumerate(np.random.SeedSequence(seed).spawn(count)):
        images[index, 0], labels[index] = _slice(np.random.default_rng(state), size)
    return images, labels


def _slice(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    tissue = _anatomy(rng, size)
    most = max(1, round(4 * (size / 96) ** 2) - 1)  # two lesions of 21 pixels on average at 96 x 96
    lesions = 0 if rng.random() < EMPTY else int(rng.integers(1, most, endpoint=True))
    lookalikes = int(rng.integers(*LOOKALIKES, endpoint=True))

    white = tissue == WHITE
    head = tissue != AIR
    discs: list[tuple[float, float, float]] = []  # y, x, radius
    label = _draw(rng, white.astype(float), _depth(white), discs, lesions)
    _draw(rng, np.where(head, 4.0, 1.0), _depth(~white), discs, lookalikes)

    image = INTENSITY[tissue] + 0.025 * _smooth(rng, size, cells=size // 4)  # texture
    y, x = np.indices(image.shape)
    glow = np.zeros(image.shape)
    for centre_y, centre_x, radius in discs:  # faint or bright by one law: brightness tells nothing
        inside = np.hypot(y - centre_y, x - centre_x) <= radius
        glow = np.maximum(glow, rng.uniform(*CONTRAST) * inside)
    image = gaussian_filter(image + glow, 0.8)  # partial volume
    image *= 1 + 0.12 * _smooth(rng, size, cells=3)  # bias field of the coil
    image += 0.05 * rng.standard_normal(image.shape)
    return np.clip(image, 0, 1).astype(np.float32), label.astype(np.uint8)


def _anatomy(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the tissue index of every pixel, from nested closed curves around a shifted, turned centre."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    shift, turn = rng.uniform(-0.05, 0.05, 2), rng.uniform(-0.15, 0.15)
    y, x = np.meshgrid(axis - shift[0], axis - shift[1], indexing="ij")
    y, x = np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x
    width, height = rng.uniform(0.66, 0.74), rng.uniform(0.80, 0.88)
    angle = np.arctan2(y / height, x / width)
    rho = np.hypot(y / height, x / width) / (1 + _waves(rng, angle, (2, 3), 0.02))  # 1 on the scalp
    folds = 0.70 + _waves(rng, angle, (9, 13, 17), 0.035)  # where cortex meets white matter

    tissue = np.full((size, size), AIR)
    tissue[rho < 1.0] = SKULL
    tissue[rho < 0.91] = FLUID
    tissue[rho < 0.86 + _waves(rng, angle, (11, 15), 0.012)] = GREY
    inner = rho < folds
    tissue[inner] = WHITE
    middle = np.abs(x)
    tissue[inner & (middle < 0.055) & (np.abs(y) > 0.40)] = GREY  # the two hemispheres
    tissue[(rho < 0.86) & (middle < 0.016) & (np.abs(y) > 0.44)] = FLUID
    nuclei = np.hypot((middle - 0.24) / 0.075, y / 0.16)
    tissue[nuclei < 1] = GREY
    length, thickness = rng.uniform(0.32, 0.40), rng.uniform(0.06, 0.09)
    bow = 0.075 + 0.9 * y**2  # the ventricles: two crescents, back to back
    half = thickness * np.sqrt(np.clip(1 - (y / length) ** 2, 0, None))
    tissue[np.abs(middle - bow) < half] = FLUID
    return tissue


def _draw(
    rng: np.random.Generator,
    weight: np.ndarray,
    depth: np.ndarray,
    discs: list[tuple[float, float, float]],
    count: int,
) -> np.ndarray:
    """Place discs where `depth` leaves room, apart from those in `discs` (it grows); return their pixels."""
    y, x = np.indices(depth.shape)
    drawn = np.zeros(depth.shape, bool)
    for radius in rng.uniform(*RADIUS, count):
        chance = np.where(depth > radius + CLEARANCE, weight, 0.0)
        for other_y, other_x, other_radius in discs:
            chance[np.hypot(y - other_y, x - other_x) < radius + other_radius + 2] = 0
        edge = int(np.ceil(radius))  # whole discs only
        chance[:edge] = chance[-edge:] = chance[:, :edge] = chance[:, -edge:] = 0
        if not chance.any():
            continue
        place = rng.choice(chance.size, p=(chance / chance.sum()).ravel())
        centre_y, centre_x = np.array(np.unravel_index(place, chance.shape)) + rng.uniform(-0.5, 0.5, 2)
        drawn |= np.hypot(y - centre_y, x - centre_x) <= radius
        discs.append((centre_y, centre_x, radius))
    return drawn


def _waves(rng: np.random.Generator, angle: np.ndarray, orders: tuple[int, ...], height: float) -> np.ndarray:
    """Return a closed curve's deviation from the circle: a few harmonics of random phase."""
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    waves = [np.cos(order * angle + phase) for order, phase in zip(orders, phases, strict=True)]
    return height * np.sum(waves, axis=0)


def _depth(mask: np.ndarray) -> np.ndarray:
    return np.asarray(distance_transform_edt(mask))


def _smooth(rng: np.random.Generator, size: int, *, cells: int) -> np.ndarray:
    """Return smooth noise of unit variance: a coarse grid of random numbers, interpolated."""
    grid = rng.standard_normal((cells + 3, cells + 3))
    return np.asarray(zoom(grid, size / cells, order=3, mode="nearest"))[:size, :size]
