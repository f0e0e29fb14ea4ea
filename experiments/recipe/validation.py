"""Make the data on which the recipe's settings were chosen: nothing of any test part is among them.

    python experiments/recipe/validation.py OUT IDRID_TILES

OUT/phantom has slices that no other experiment sees, OUT/idrid the official training part alone, every third
tile of which is validated on.
"""

import json
import shutil
import sys
from pathlib import Path

from PIL import Image

from boundaryloss.training.data.phantom import phantom

SEEDS = {"train": 31, "validation": 32}  # the experiments have 0 and 1,000,003
COUNTS = {"train": 200, "validation": 200}


def write_phantom(folder: Path) -> None:
    """Slices as 8-bit PNG."""
    names: dict[str, list[str]] = {}
    for part, seed in SEEDS.items():
        images, labels = phantom(COUNTS[part], seed=seed)
        names[part] = [f"{part}{index:03}" for index in range(len(images))]
        for name, image, label in zip(names[part], images[:, 0], labels, strict=True):
            Image.fromarray((255 * image).round().astype("uint8")).save(folder / "images" / f"{name}.png")
            Image.fromarray(label).save(folder / "masks" / f"{name}.png")
    write_split(folder, names["train"], names["validation"])


def copy_training_part(source: Path, folder: Path) -> None:
    """The official training tiles."""
    names = sorted(path.stem for path in (source / "images").glob("train_*.png"))
    for kind in ("images", "masks"):
        for name in names:
            shutil.copy(source / kind / f"{name}.png", folder / kind)
    validation = names[2::3]
    write_split(folder, [name for name in names if name not in validation], validation)


def write_split(folder: Path, train: list[str], test: list[str]) -> None:
    """What `boundaryloss train` reads."""
    (folder / "splits.json").write_text(json.dumps({"train": train, "test": test}))


def main(out: Path, idrid: Path) -> None:
    """Write both."""
    for name in ("phantom", "idrid"):
        for kind in ("images", "masks"):
            (out / name / kind).mkdir(parents=True)
    write_phantom(out / "phantom")
    copy_training_part(idrid, out / "idrid")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
