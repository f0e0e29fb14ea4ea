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
def levels() -> list[str]: ...
def use_level(name: str) -> None: ...
