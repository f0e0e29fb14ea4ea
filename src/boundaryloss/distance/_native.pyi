from torch import Tensor

def signed_distance(
    maps: Tensor,
    out: Tensor,
    num_classes: int,
    first_class: int,
    ignored: int | None,
    spacing: list[float],
    face_offset: float,
    threads: int,
) -> int | None: ...
def distance_transform(maps: Tensor, out: Tensor, spacing: list[float], threads: int) -> None: ...
def components(masks: Tensor, out: Tensor, threads: int) -> None: ...
def component_factors(sizes: Tensor, numbers: Tensor, most: float, threads: int, out: Tensor) -> None: ...
def contour_distances(
    predictions: Tensor,
    truths: Tensor,
    batch: int,
    map: int,
    label: int,
    contour: str,
    flat: bool,
    spacing: list[float],
    areas: list[float],
    tolerance: float,
    threads: int,
) -> tuple[list[float], list[float], list[float], list[float], int, int]: ...
def levels() -> list[str]: ...
def use_level(name: str) -> None: ...
