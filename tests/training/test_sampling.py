import dataclasses

import numpy as np
import pytest
import torch
from datasets import task

from boundaryloss import signed_distance_map
from boundaryloss.files.errors import UserError
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.sampling import Draws, EpochSampler, ShareSampler, count_draws
from boundaryloss.training.data.slices import Slices

SPACING = (1.0, 1.0, 2.5)
PATCH = (8, 8, 8)


class Volume:
    """One volume with two lesions, whose image is its own distance map."""

    def __init__(self, shape=(30, 26, 20)):
        labels = torch.zeros(shape, dtype=torch.uint8)
        labels[4:7, 5:8, 3:5] = 1
        labels[22:25, 18:20, 14:16] = 1
        self.phi = signed_distance_map(labels[None], 2, spacing=SPACING)[0]
        self.labels = labels[None]

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return {"image": self.phi.clone(), "labels": self.labels, "spacing": SPACING, "name": "v"}


def draws(samples=None, patch=PATCH, spacing=SPACING, padded=False, **settings):
    config = TrainConfig(patches_per_case=50, **settings)
    known = task(spacing=spacing, patch=patch, padded=padded)
    return Draws(Volume() if samples is None else samples, config, known)


@pytest.mark.parametrize("augment", [(), ("flip",), ("flip", "rotate90")])
def test_draws_map_of_the_volume_is_cut_and_turned_exactly_with_it(augment):
    samples = draws(map_from="volume", augment=augment)
    for position in range(20):
        sample = samples[0, position]
        assert torch.equal(sample["signed_distance"], sample["image"])
        assert ((sample["signed_distance"] < 0) == (sample["labels"] == 1)).all()


def test_draws_map_of_the_patch_is_not_the_patch_of_the_map():
    differs = 0
    for position in range(20):
        sample = draws(map_from="volume")[0, position]
        own = signed_distance_map(sample["labels"], 2, spacing=SPACING)[0]
        assert (own.abs() >= sample["signed_distance"].abs() - 1e-5)[own != 0].all()  # it sees less boundary
        differs += not torch.equal(own, sample["signed_distance"])
    assert differs


def test_draws_find_the_foreground_as_often_as_asked():
    def share(foreground):
        samples = draws(foreground=foreground)
        return np.mean([bool(samples[0, position]["labels"].any()) for position in range(50)])

    assert share(1.0) == 1 and share(0.0) < 0.3
    assert 0.3 < share(0.5) < 0.8


def test_draws_of_an_empty_case_are_background():
    volume = Volume()
    volume.labels = torch.zeros_like(volume.labels)
    sample = draws(volume, foreground=1.0)[0, 0]
    assert sample["image"].shape == (1, *PATCH) and not sample["labels"].any()


def test_draws_depend_on_seed_epoch_and_position_alone():
    augment = ("flip", "rotate90", "scale", "intensity", "noise")
    one, other = draws(augment=augment), draws(augment=augment)
    other[3, 7]
    keys = [(0, 0), (0, 1), (1, 0), (4, 33)]
    images = [one[key]["image"] for key in keys]
    assert all(
        torch.equal(image, other[key]["image"]) for image, key in zip(images[::-1], keys[::-1], strict=True)
    )
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert not torch.equal(draws(augment=augment, seed=1)[0, 0]["image"], images[0])
    assert all(type(value) is torch.Tensor for key, value in one[0, 0].items() if key in ("image", "labels"))


def test_draws_scale_keeps_labels_on_the_image():
    labels = np.zeros((40, 40), np.uint8)
    labels[12:28, 10:30] = 1
    slices = Slices([labels[None].astype(np.float32)], [labels])
    samples = draws(slices, patch=None, spacing=(1.0, 1.0), augment=("scale",))
    sizes = set()
    for position in range(20):
        sample = samples[0, position]
        assert ((sample["image"] > 0.5) != (sample["labels"] > 0)).float().mean() < 0.05
        sizes.add(int(sample["labels"].sum()))
    assert len(sizes) > 3


def test_draws_refuse_to_rotate_what_would_not_fit():
    with pytest.raises(UserError, match=r"rotate90.*make both equal"):
        draws(augment=("rotate90",), patch=(8, 4, 8))
    with pytest.raises(UserError, match=r"rotate90.*make both equal"):
        draws(augment=("rotate90",), spacing=(1.0, 2.0, 1.0))


def test_config_refuses_what_makes_the_map_of_the_volume_stale():
    with pytest.raises(UserError, match=r'"scale" changes distances.*stale'):
        TrainConfig(map_from="volume", augment=("flip", "scale"))


def test_epoch_sampler_shares_each_epoch_out():
    single = EpochSampler(10, seed=5)
    parts = [EpochSampler(10, 5, rank, 3) for rank in range(3)]
    for epoch in (0, 1, 7):
        for sampler in (single, *parts):
            sampler.set_epoch(epoch)
        order = list(single)
        assert sorted(position for _, position in order) == list(range(10)) and {e for e, _ in order} == {
            epoch
        }
        dealt = [key for keys in zip(*parts, strict=True) for key in keys]
        assert dealt == [*order, *order[:2]] and all(len(part) == 4 for part in parts)


def test_share_sampler_leaves_no_process_without_a_case():
    for size, world in ((7, 2), (1, 3), (4, 2)):
        parts = [list(ShareSampler(size, rank, world)) for rank in range(world)]
        assert {index for part in parts for index in part} == set(range(size))
        assert len({len(part) for part in parts}) == 1


def test_draws_regions_have_a_map_each():
    config = dataclasses.replace(TrainConfig(map_from="volume"), patches_per_case=1)
    volume = Volume()
    volume.labels[0, 5, 6, 3] = 2
    known = task((0, 1, 2), SPACING, patch=PATCH, regions=((1, 2), (2,)), painted=(1, 2))
    samples = Draws(volume, config, known)
    phi = samples[0, 0]["signed_distance"]
    assert phi.shape == (2, *PATCH) and (phi[1] >= phi[0]).all()


class Uneven:
    """Two slices, each narrower than 32 pixels, with an object in a corner; each image is its map."""

    shapes = ((20, 40), (40, 25))

    def __len__(self):
        return 2

    def __getitem__(self, index):
        labels = torch.zeros(1, *self.shapes[index], dtype=torch.long)
        labels[..., :5, :6] = 1
        return {"image": signed_distance_map(labels, 2)[0], "labels": labels, "name": str(index)}


@pytest.mark.parametrize("augment", [(), ("flip", "rotate90")])
def test_draws_pad_a_case_that_is_smaller_than_the_patch(augment):
    options = {"patch": (32, 32), "padded": True, "spacing": (1.0, 1.0)}
    samples = draws(Uneven(), map_from="volume", augment=augment, **options)
    for position in range(20):
        sample = samples[0, position]
        inside = sample["inside"]
        assert sample["image"].shape == inside.shape == (1, 32, 32)
        assert inside.sum() == 32 * min(Uneven.shapes[position % 2])  # what is not padding
        assert torch.equal(sample["signed_distance"], sample["image"])
        assert ((sample["image"] < 0) == (sample["labels"] == 1)).all()  # both go on beyond the edge


def test_draws_of_a_padded_case_find_the_foreground_inside():
    samples = draws(Uneven(), patch=(80, 16), padded=True, spacing=(1.0, 1.0), foreground=1.0)
    for position in range(20):
        sample = samples[0, position]
        assert (sample["labels"].bool() & sample["inside"]).any()


def test_draws_scale_fills_nothing_with_zeros():
    slices = Slices([np.ones((1, 40, 40), np.float32)] * 3, [np.ones((40, 40), np.uint8)] * 3)
    samples = draws(slices, patch=None, spacing=(1.0, 1.0), augment=("scale",))
    assert all(samples[0, position]["image"].min() > 0.99 for position in range(20))
    assert all(samples[0, position]["labels"].all() for position in range(20))


def test_count_draws_gives_patches_fifty_steps_at_least():
    def count(cases, patch=PATCH, **settings):
        return count_draws(cases, TrainConfig(batch_size=4, **settings), patch)

    assert (count(2), count(300)) == (200, 300)
    assert count(2, patch=None) == 2
    assert count(2, patches_per_case=3) == 6
    assert (count(2, steps_per_epoch=7), count(2, patch=None, steps_per_epoch=7)) == (28, 28)
    assert count(2, devices=2) == 400 and count(2, devices=2, steps_per_epoch=7) == 56


def test_draws_of_short_epochs_come_to_every_case():
    config = TrainConfig(batch_size=1, steps_per_epoch=2)
    slices = Slices([np.full((1, 8, 8), i, np.float32) for i in range(5)], [np.zeros((8, 8), np.uint8)] * 5)
    samples = Draws(slices, config, task())
    seen = [samples[epoch, position]["name"] for epoch in range(5) for position in range(len(samples))]
    assert seen == [*slices.names, *slices.names]
