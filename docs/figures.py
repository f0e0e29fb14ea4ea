"""The figures of the documentation, drawn with the library: `python docs/figures.py docs/images/drawn`."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boundaryloss import BoundaryLoss, GradientRatio, Increase, Rebalance, signed_distance_map
from boundaryloss.metrics import contour_distances

SIDE = 48
TRUTH, PREDICTION = "#0072b2", "#d55e00"


def disc(y: float, x: float, radius: float) -> torch.Tensor:
    """A filled circle on the grid."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def signed(mask: torch.Tensor) -> np.ndarray:
    """Its map."""
    return signed_distance_map(mask[None, None])[0, 0].numpy()


def outline(axes: Axes, mask: torch.Tensor, colour: str, label: str) -> None:
    """The contour of a mask, with its name."""
    axes.contour(signed(mask), levels=[0], colors=[colour], linewidths=2)
    axes.plot([], [], color=colour, linewidth=2, label=label)


def save(figure: Figure, path: Path) -> None:
    """The same file every time."""
    figure.savefig(path, metadata={"Date": None})


def draw_views(path: Path) -> None:
    """The distance between two contours: by segments, and by what lies between them."""
    truth, prediction = disc(24, 20, 11.4), disc(24, 27, 12.4)
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    for axes in (first, second):
        outline(axes, truth, TRUTH, "truth, $\\partial G$")
        outline(axes, prediction, PREDICTION, "prediction, $\\partial S$")
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        direction = np.array([np.cos(angle), np.sin(angle)])
        start = np.array([20, 24]) + 11.3 * direction
        offset = start - [27, 24]  # along the normal to the other circle
        along = offset @ direction
        length = -along + np.sqrt(along**2 - offset @ offset + 12.3**2)
        first.plot(*np.stack([start, start + length * direction]).T, color="0.35", linewidth=1)
    first.set_title("Segments between the contours")
    between = np.where((truth ^ prediction).numpy(), 2 * np.abs(signed(truth)), np.nan)
    picture = second.imshow(between, cmap="viridis")
    figure.colorbar(picture, ax=second, shrink=0.8)
    second.set_title("$2 D_G$ where the two differ")
    picture = third.imshow(signed(truth), cmap="RdBu_r", vmin=-26, vmax=26)
    third.contour(signed(truth), levels=[0], colors=["black"])
    figure.colorbar(picture, ax=third, shrink=0.8)
    third.set_title("The signed map $\\phi_G$")
    first.legend(loc="lower left", fontsize=7)
    for axes in (first, second, third):
        axes.set(xticks=[], yticks=[], xlim=(0, SIDE - 1), ylim=(SIDE - 1, 0), aspect="equal")
    save(figure, path)


def draw_identity(path: Path) -> None:
    """A flat boundary moved by k voxels costs k^2 / 2 a row, to the last digit."""
    figure = Figure(figsize=(9.6, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    truth = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    phi = signed_distance_map(truth.view(1, 1, -1), 2)[0, 0, 0]
    left.bar(range(10), phi, color=[PREDICTION if value > 0 else TRUTH for value in phi])
    left.axvline(5.5, color="black", linestyle=":")
    for index, value in enumerate(phi):
        height = float(value) + (0.15 if value > 0 else -0.75)
        left.text(index, height, f"{float(value):g}", ha="center", fontsize=9)
    left.set(
        xticks=range(10),
        ylim=(-5, 7),
        ylabel="$\\phi_G$",
        title="A row: background, then object from voxel 6",
    )
    steps = range(7)
    loss = BoundaryLoss(activation=None, as_distance=True, reduction="sum")
    moved = [
        torch.stack([1 - (torch.arange(10) >= 6 - k).float(), (torch.arange(10) >= 6 - k).float()])
        for k in steps
    ]
    costs = [float(loss(p.view(1, 2, 1, 10), truth.view(1, 1, 10))) for p in moved]
    right.plot(
        [k / 10 for k in range(61)], [(k / 10) ** 2 / 2 for k in range(61)], color="0.6", label="$k^2/2$"
    )
    right.plot(steps, costs, "o", color=PREDICTION, label="BoundaryLoss")
    right.set(xlabel="moved by k voxels", title="What moving it costs")
    right.legend()
    save(figure, path)


def draw_conventions(path: Path) -> None:
    """One row in both conventions."""
    row = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0])
    figure = Figure(figsize=(9.6, 2.6), layout="constrained")
    for axes, contour in zip(figure.subplots(1, 2, sharey=True), ("faces", "centers"), strict=True):
        phi = signed_distance_map(row.view(1, 1, -1), 2, contour=contour)[0, 0, 0]
        axes.bar(range(len(row)), phi, color=[TRUTH if inside else PREDICTION for inside in row])
        for index, value in enumerate(phi):
            axes.text(
                index,
                float(value) + (0.1 if value >= 0 else -0.45),
                f"{float(value):g}",
                ha="center",
                fontsize=8,
            )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(
            xticks=range(len(row)), xticklabels=row.tolist(), title=f'contour="{contour}"', ylim=(-2.2, 3)
        )
    save(figure, path)


def draw_schedules(path: Path) -> None:
    """The boundary weight over the epochs; of `GradientRatio` the ratio it holds."""
    figure = Figure(figsize=(9.6, 2.8), layout="constrained")
    axes = figure.subplots()
    epochs = range(101)
    axes.plot(epochs, [Increase()(epoch)[1] for epoch in epochs], label="Increase(): weight")
    axes.plot(
        epochs, [Rebalance()(epoch)[0] for epoch in epochs], label="Rebalance(): weight of the region loss"
    )
    axes.plot(
        epochs,
        [GradientRatio().at(epoch) for epoch in epochs],
        label="GradientRatio(): ratio of the gradients",
    )
    axes.set(xlabel="epoch")
    axes.legend()
    save(figure, path)


def draw_forms(path: Path) -> None:
    """How hard each form pulls at the logit of a background voxel, far from the object."""
    z = np.linspace(-8, 8, 200)
    p = 1 / (1 + np.exp(-z))
    figure = Figure(figsize=(9.6, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(z, p * (1 - p), color=TRUTH, label="BoundaryLoss: $p(1-p)$")
    left.plot(z, p, color=PREDICTION, label="LogBoundaryLoss: $p$")
    left.set(xlabel="logit of a false positive", title="Gradient, per unit of weight")
    left.legend()
    phi = np.linspace(-10, 25, 200)
    right.plot(phi, phi / 25, color=TRUTH, label="$\\phi$, scaled to the plot")
    right.plot(phi, np.tanh(phi / 2), color=PREDICTION, label="$\\tanh(\\phi/2)$")
    right.axhline(0, color="0.6", linewidth=0.8)
    right.set(xlabel="signed distance", title="Weight")
    right.legend()
    save(figure, path)


def draw_faces(axes: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    """The faces of a mask, whose pixel in the corner is drawn from 0 to 1."""
    for axis, lines in ((0, axes.hlines), (1, axes.vlines)):
        for face in np.argwhere(np.diff(np.pad(mask, 1).astype(int), axis=axis)):
            start = face[1 - axis] - 1
            lines(face[axis], start, start + 1, color=colour, linewidth=width, capstyle="projecting")


def draw_mask(axes: Axes, mask: np.ndarray) -> None:
    """The pixels of a mask, on the same axes."""
    rows, columns = mask.shape
    axes.pcolormesh(mask, cmap="Greys", vmin=0, vmax=5, edgecolor="0.8", linewidth=0.8)
    axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-0.2, columns + 0.2), ylim=(rows + 0.2, -0.2))


def draw_contours(path: Path) -> None:
    """Where four families of tools let the contour of one mask run, and how long it is for them."""
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:5, 1:4] = mask[3:5, 4] = mask[1, 5] = True
    tensor = torch.tensor(mask)[None, None]
    length = {
        contour: float(contour_distances(tensor, tensor, contour=contour).truth_area)
        for contour in ("faces", "centers", "surfels")
    }
    figure = Figure(figsize=(9.6, 9.4), layout="constrained")
    by_faces, by_centers, by_surfels, by_mesh = panels = figure.subplots(2, 2).flatten()
    for axes in panels:
        draw_mask(axes, mask)

    draw_faces(by_faces, mask, PREDICTION, 4)

    around = np.pad(mask, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    rows, columns = np.nonzero(mask & ~inner)
    by_centers.plot(columns + 0.5, rows + 0.5, "o", color=PREDICTION, markersize=13)

    before, after = around[:, :-1].astype(int), around[:, 1:].astype(int)
    filled = before[:-1] + before[1:] + after[:-1] + after[1:]
    opposite = (filled == 2) & (before[:-1] == after[1:])
    lengths = np.select([opposite, filled == 2, filled % 2 == 1], [2**0.5, 1, 0.5**0.5])
    rows, columns = np.nonzero(lengths)
    by_surfels.scatter(columns, rows, s=190 * lengths[rows, columns] ** 2, color=PREDICTION, zorder=3)

    centres = [np.arange(size + 2) - 0.5 for size in reversed(mask.shape)]
    (lines,) = by_mesh.contour(*centres, around, levels=[0.5], colors=[PREDICTION], linewidths=4).allsegs
    length["mesh"] = sum(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in lines)

    for axes, title in (
        (by_faces, f'"faces" (ours, distorch)\nlength {length["faces"]:.0f}'),
        (by_centers, f'"centers" (MONAI, MedPy)\n{length["centers"]:.0f} pixels, each of weight 1'),
        (by_surfels, f'"surfels" (DeepMind)\ncorners, {length["surfels"]:.1f} in all'),
        (by_mesh, f"a mesh (MeshMetrics)\nlength {length['mesh']:.1f}"),
    ):
        axes.set_title(title, fontsize=20)  # readable on a phone, which shows the whole figure
    figure.get_layout_engine().set(h_pad=0.12)  # or a browser's font does not fit above
    save(figure, path)


def draw_percentiles(path: Path) -> None:
    """A speck that is 7 % of the one contour and 4 % of both: only the larger of two percentiles sees it."""
    truth = torch.zeros(28, 44, dtype=torch.bool)
    truth[2:26, 2:26] = True
    prediction = truth.clone()
    prediction[13:15, 38:40] = True
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_mask(left, prediction.numpy())
    draw_faces(left, prediction.numpy(), PREDICTION, 5)
    draw_faces(left, truth.numpy(), TRUTH, 2)
    for colour, label in ((TRUTH, "truth"), (PREDICTION, "prediction")):
        left.plot([], [], color=colour, linewidth=3, label=label)
    left.legend(loc="upper right", fontsize=12)
    left.set_title("A perfect mask, and a speck", fontsize=15)
    percentiles = np.arange(85, 100.01, 0.1)
    found = [
        contour_distances(prediction[None, None], truth[None, None], percentile=min(p, 100))
        for p in percentiles
    ]
    for name, colour, label in (
        ("hd95", PREDICTION, "the larger of two"),
        ("hd95_pooled", "0.35", "of both together"),
    ):
        distances = [float(getattr(one, name)) for one in found]
        right.plot(percentiles, distances, color=colour, linewidth=3, label=label)
        at = int(np.argmin(abs(percentiles - 95)))
        right.plot(95, distances[at], "o", color=colour, markersize=10)
        right.annotate(
            f"{name}: {distances[at]:.1f}",
            (95, distances[at]),
            (-12, 4),
            textcoords="offset points",
            ha="right",
            fontsize=13,
        )
    right.axvline(95, color="black", linestyle=":")
    right.set(xlabel="percentile", ylabel="distance", xlim=(85, 100.3), ylim=(-1, 19))
    right.set_title("Two percentiles", fontsize=15)
    right.legend(fontsize=12, loc="center left")
    figure.get_layout_engine().set(h_pad=0.12)
    save(figure, path)


DRAWN = {
    "contours": draw_contours,
    "percentiles": draw_percentiles,
    "views": draw_views,
    "identity": draw_identity,
    "conventions": draw_conventions,
    "schedules": draw_schedules,
    "forms": draw_forms,
}


def draw_all(folder: Path) -> None:
    """All of them, as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams |= {"svg.hashsalt": "boundaryloss", "svg.fonttype": "none", "font.family": "sans-serif"}
    for name, draw in DRAWN.items():
        draw(folder / f"{name}.svg")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
