"""The confirming data that no earlier round has seen, from clones of public repositories, as data folders.

    python build_data.py sirst REPOSITORY OUT        # github.com/YimianDai/open-sirst-v2
    python build_data.py hippocampus REPOSITORY OUT  # github.com/udacity/nd320-c3-3d-imaging-starter

`sirst`: trains on all 427 images of version 1, tests on the 87 images with a target that only version 2 has.
The new images are about 512 x 640 pixels, the old ones about 212 x 304, so that of each new one a window of
256 x 320 is taken, at a random place that holds all of its targets (or the whole image, where these are too
far apart). The licence of these data is not stated (Dai et al., WACV 2021; research only): they are not part
of this project.

`hippocampus`: task 4 of the Medical Segmentation Decathlon (CC BY-SA 4.0); every second volume trains, the
others test.
"""

import io
import json
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

WINDOW = (256, 320)


def archived(repository: str, *folders: str) -> dict[str, bytes]:
    """What the newest commit of a clone holds in some folders."""
    command = ["git", "-C", repository, "archive", "HEAD", *folders]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def read(repository: str, path: str) -> bytes | None:
    """One file of the newest commit of a clone, if it is there."""
    shown = subprocess.run(["git", "-C", repository, "show", f"HEAD:{path}"], capture_output=True)
    return shown.stdout if shown.returncode == 0 else None


def grey(content: bytes) -> np.ndarray:
    """An image of one channel; some files repeat it three times."""
    image = np.array(Image.open(io.BytesIO(content)))
    return image[..., 0] if image.ndim == 3 else image


def window(name: str, mask: np.ndarray) -> tuple[slice, ...]:
    """A random window of an image that holds all targets; the same for the same name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    result = []
    for places, size, side in zip(np.nonzero(mask), mask.shape, WINDOW, strict=True):
        low, high = max(0, places.max() + 1 - side), min(places.min(), size - side)
        if low > high:
            return (slice(None),) * 2
        start = int(random.integers(low, high + 1))
        result.append(slice(start, start + side))
    return tuple(result)


def sirst(repository: str, out: Path) -> dict[str, list[str]]:
    """Images, masks, and the names that train and test."""
    found = archived(repository, "images/targets", "annotations/masks", "splits")
    old, new = (found[f"splits/trainvaltest_{which}.txt"].decode().split() for which in ("v1", "v2target"))
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True)
    for name in old + new:
        image = grey(found[f"images/targets/{name}.png"])
        mask = (grey(found[f"annotations/masks/{name}_pixels0.png"]) > 0).astype(np.uint8)
        if image.shape != mask.shape:
            sys.exit(f"{name}: image {image.shape}, mask {mask.shape}")
        part = window(name, mask) if name in new else (slice(None),) * 2
        Image.fromarray(image[part]).save(out / "images" / f"{name}.png")
        Image.fromarray(mask[part]).save(out / "masks" / f"{name}.png")
    return {"train": old, "test": new}


def hippocampus(repository: str, out: Path) -> dict[str, list[str]]:
    """The files as they are, and every second name to train."""
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True)
    names = []
    for number in range(1, 395):
        name = f"hippocampus_{number:03}"
        pair = [read(repository, f"data/TrainingSet/{part}/{name}.nii.gz") for part in ("images", "labels")]
        if None in pair:
            continue
        for folder, content in zip(("images", "masks"), pair, strict=True):
            (out / folder / f"{name}.nii.gz").write_bytes(content)
        names.append(name)
    train = [name for index, name in enumerate(names) if index % 2 == 0]
    return {"train": train, "test": [name for name in names if name not in train]}


def main() -> None:
    """Build one of them."""
    builders = {"sirst": sirst, "hippocampus": hippocampus}
    if len(sys.argv) != 4 or sys.argv[1] not in builders:
        sys.exit(__doc__)
    out = Path(sys.argv[3])
    if out.exists():
        sys.exit(f"{out} exists; give a new folder")
    split = builders[sys.argv[1]](sys.argv[2], out)
    (out / "splits.json").write_text(json.dumps(split))
    print({part: len(names) for part, names in split.items()})


if __name__ == "__main__":
    main()
