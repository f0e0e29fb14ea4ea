"""Signed distance maps as MONAI transforms, for arrays and dictionaries."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor
from torch import Tensor

from boundaryloss import signed_distance_map


class SignedDistanceMap(Transform):
    """Signed distance map of one channel-first label map, see `boundaryloss.signed_distance_map`.

    Made of the whole volume before patches are cut, the map holds true distances at the patches' edges; feed
    it to `boundaryloss.boundary_loss`. Without patches the losses make their maps themselves.

    The map keeps the metadata and the trace of the label map: `Invertd` brings it back to the file's grid.

    Args:
        num_classes: classes of a label map `(1, *space)`, background included; None for masks `(C, *space)`,
            each channel an object where it exceeds 1/2.
        spacing: size of a voxel along each spatial axis; default `MetaTensor.pixdim`, and 1 without metadata.
            A slice that was cut by indexing keeps the affine of its volume, which does not say which axes are
            left: unless all have the same spacing, say it here.
        contour: `"faces"` or `"centers"`; the latter needs equal spacing.
        include_background: whether the map of class 0 of a label map comes first.
        ignore_index: a label whose voxels belong to no class.

    Returns:
        float32 `(C - 1, *space)` of a label map (`C` with the background), `(C, *space)` of masks; of the
        input's kind: `MetaTensor`, tensor or array.

    Raises:
        ValueError: labels that are no integers or not one channel, an affine of other axes, and what
            `signed_distance_map` refuses.

    Example:
        >>> import torch
        >>> SignedDistanceMap(num_classes=2)(torch.tensor([[[0, 0, 1, 1]]])).tolist()
        [[[1.5, 0.5, -0.5, -1.5]]]
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (MONAI's way to say what a transform computes with)

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        spacing: Sequence[float] | None = None,
        contour: Literal["faces", "centers"] = "faces",
        include_background: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.spacing = spacing
        self.contour: Literal["faces", "centers"] = contour
        self.include_background = include_background
        self.ignore_index = ignore_index

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return the map of `img` `(1 or C, *space)`."""
        tracked = convert_to_tensor(img, track_meta=get_track_meta())
        spacing = self.spacing
        if spacing is None and isinstance(tracked, MetaTensor):
            spacing = _spacing_of(tracked)
        values = convert_to_tensor(img, track_meta=False)
        if not isinstance(values, Tensor):
            raise TypeError(f"the label map must be a tensor or an array, got {type(img).__name__}")
        objects = values[None] > 0.5 if self.num_classes is None else _one_label_map(values)
        phi = signed_distance_map(
            objects,
            self.num_classes,
            spacing=spacing,
            contour=self.contour,
            include_background=self.include_background,
            ignore_index=self.ignore_index,
        )[0]
        return convert_to_dst_type(phi, dst=img, dtype=torch.float32)[0]


class SignedDistanceMapd(MapTransform):
    """`SignedDistanceMap` of the items of a dictionary.

    Args:
        keys: the items.
        num_classes: as the following, see `SignedDistanceMap`.
        spacing: size of a voxel along each spatial axis.
        contour: `"faces"` or `"centers"`.
        include_background: whether the map of class 0 comes first.
        ignore_index: a label whose voxels belong to no class.
        new_key_prefix: put before the key to make the map's; None, MONAI's default, replaces the item.
        allow_missing_keys: whether an item may be absent.

    Example:
        >>> import torch
        >>> maps = SignedDistanceMapd("label", num_classes=2, new_key_prefix="distance_")
        >>> sorted(maps({"label": torch.zeros(1, 4, 4)}))
        ['distance_label', 'label']
    """

    backend = SignedDistanceMap.backend

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        *,
        spacing: Sequence[float] | None = None,
        contour: Literal["faces", "centers"] = "faces",
        include_background: bool = False,
        ignore_index: int | None = None,
        new_key_prefix: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = SignedDistanceMap(
            num_classes,
            spacing=spacing,
            contour=contour,
            include_background=include_background,
            ignore_index=ignore_index,
        )
        self.new_key_prefix = new_key_prefix or ""

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Return a copy of `data` with the maps."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[f"{self.new_key_prefix}{key}"] = self.transform(items[key])
        return items


SignedDistanceMapD = SignedDistanceMapDict = SignedDistanceMapd


def _spacing_of(image: MetaTensor) -> list[float]:
    """Return the spacing of each axis; a slice may have the affine of its volume, a matrix that of a row."""
    axes = image.ndim - 1
    steps = image.affine[:-1, :-1].norm(dim=0).tolist()  # pixdim takes the first axes, whichever are left
    of_file = image.meta.get("spatial_shape", ())
    if len(steps) == axes or len(steps) > axes == len(of_file):
        return steps[:axes]
    equal = max(steps) - min(steps) <= 1e-4 * max(steps)
    if equal and (len(steps) > axes or steps[0] == 1):
        return [steps[0]] * axes
    raise ValueError(
        f"which of the spacings {steps} of the affine have the {axes} axes of the image? Pass spacing=, or "
        "cut slices with transforms that cut the affine too, such as monai.transforms.SqueezeDim"
    )


def _one_label_map(values: Tensor) -> Tensor:
    """Return integer labels `(1, *space)` of any type: files are read as float32."""
    labels = values if not (values.is_floating_point() or values.dtype == torch.bool) else values.long()
    if len(labels) != 1 or (values.is_floating_point() and not torch.equal(labels.to(values), values)):
        raise ValueError(
            f"num_classes needs one channel of integer labels, got {values.dtype} {tuple(values.shape)}; "
            "leave num_classes out if the channels are masks"
        )
    return labels
