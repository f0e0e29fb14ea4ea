import json
import shutil

import numpy as np
import pytest
import torch
from datasets import save, task
from PIL import Image

from boundaryloss.files.errors import UserError
from boundaryloss.training import predict as module
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data.loaders import Loaders
from boundaryloss.training.data.slices import Slices
from boundaryloss.training.predict import predict
from boundaryloss.training.run import RunData, train
from boundaryloss.training.trained import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = [np.pad(np.ones((8, 8), np.uint8), ((8, 16), (6, 18))) for _ in range(4)]
    images = [np.maximum(rng.uniform(0, 0.2, (1, 32, 32)), label).astype(np.float32) for label in labels]
    slices = Slices(images, labels)
    config = TrainConfig(loss="dice", epochs=40, batch_size=4, features=(8, 8, 8, 8, 8), learning_rate=0.01,
                         validation=0.0, accelerator="cpu")  # fmt: skip
    out = tmp_path_factory.mktemp("predict") / "run"
    train(RunData.from_slices(task((0, 255)), slices, slices), config, out)
    return out


def write_image(path, shape):
    image = np.full(shape, 20, np.uint8)
    image[8:16, 6:14] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_predict_writes_the_label_values_at_the_original_size(run, tmp_path):
    shapes = {"a": (32, 32), "b": (37, 45)}
    for (name, shape), suffix in zip(shapes.items(), (".png", ".jpg"), strict=True):
        write_image(tmp_path / f"images/{name}{suffix}", shape)
    assert predict(run, tmp_path / "images", tmp_path / "out") == 2
    for name, shape in shapes.items():
        labels = np.array(Image.open(tmp_path / f"out/{name}.png"))
        assert labels.shape == shape and set(np.unique(labels)) <= {0, 255}
    assert (np.array(Image.open(tmp_path / "out/a.png"))[9:15, 7:13] == 255).all()


def test_predict_agrees_with_the_runs_own_test(run):
    module, config = load_run(run)
    assert not module.training and config.loss == "dice"


def test_predict_names_an_image_with_other_channels(run, tmp_path):
    write_image(tmp_path / "images/rgb.png", (32, 32, 3))
    with pytest.raises(UserError, match=r"rgb\.png has 3 channel\(s\), .* trained on 1"):
        predict(run, tmp_path / "images", tmp_path / "out")


def test_predict_takes_a_device_that_is_here(run, tmp_path, monkeypatch):
    write_image(tmp_path / "images/a.png", (32, 32))
    assert predict(run, tmp_path / "images", tmp_path / "out", device="cpu") == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cuda:2", "cuda:", "gpu", "xpu", "cpu:1", "", "cuda:-1", "cuda:0:0"):
        with pytest.raises(UserError, match=f"no device {device} here; there is cpu, cuda:0, cuda:1"):
            predict(run, tmp_path / "images", tmp_path / "none", device=device)
    assert not (tmp_path / "none").exists()

    def trainer(**options):
        raise InterruptedError(options["accelerator"], options["devices"])

    monkeypatch.setattr(module, "Trainer", trainer)
    for device, chosen in {"cuda": ("cuda", 1), "cuda:1": ("cuda", [1]), None: ("cpu", 1)}.items():
        with pytest.raises(InterruptedError) as asked:
            predict(run, tmp_path / "images", tmp_path / str(device), device=device)
        assert asked.value.args == chosen


def test_predict_without_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt"):
        predict(tmp_path, tmp_path, tmp_path / "out")


def test_predict_with_a_damaged_checkpoint(run, tmp_path):
    content = (run / "checkpoints/last.ckpt").read_bytes()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is damaged or no checkpoint"):
        predict(tmp_path, tmp_path, tmp_path / "out")


SHAPES = {"a": (20, 37), "b": (50, 45), "c": (16, 16)}


@pytest.fixture
def noise(tmp_path):
    """A folder of images of different sizes that the network is not sure about."""
    rng = np.random.default_rng(1)
    (tmp_path / "noise").mkdir()
    for name, shape in SHAPES.items():
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / f"noise/{name}.png")
    return tmp_path / "noise"


def test_predict_of_one_image_is_that_in_a_folder(run, noise, tmp_path):
    told = []
    predict(run, noise, tmp_path / "all", progress=lambda *step: told.append(step))
    assert told == [(1, 3, "a"), (2, 3, "b"), (3, 3, "c")]
    for name in SHAPES:
        (tmp_path / name).mkdir()
        shutil.copy(noise / f"{name}.png", tmp_path / name)
        predict(run, tmp_path / name, tmp_path / f"out_{name}")
        files = [tmp_path / folder / f"{name}.png" for folder in ("all", f"out_{name}")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_predict_takes_one_image(run, noise, tmp_path):
    predict(run, noise, tmp_path / "all")
    (noise / "notes.txt").write_text("no image")
    assert predict(run, noise / "b.png", tmp_path / "one") == 1
    assert (tmp_path / "one/b.png").read_bytes() == (tmp_path / "all/b.png").read_bytes()
    assert not (tmp_path / "one/a.png").exists()
    with pytest.raises(UserError, match=r"notes\.txt: unknown format"):
        predict(run, noise / "notes.txt", tmp_path / "text")


def probabilities_of(folder, name):
    with np.load(folder / f"probabilities/{name}.npz", allow_pickle=False) as file:
        return file["probabilities"]


def test_predict_writes_probabilities_and_moves_the_threshold(run, noise, tmp_path):
    predict(run, noise, tmp_path / "half", probabilities=True)
    predict(run, noise, tmp_path / "low", threshold=0.01)
    assert not (tmp_path / "low/probabilities").exists()
    for name, shape in SHAPES.items():
        values = probabilities_of(tmp_path / "half", name)
        assert values.shape == (2, *shape) and values.dtype == np.float32
        np.testing.assert_allclose(values.sum(0), 1, rtol=1e-5)
        for folder, threshold in (("half", 0.5), ("low", 0.01)):
            labels = np.array(Image.open(tmp_path / folder / f"{name}.png"))
            np.testing.assert_array_equal(labels > 0, values[1] > threshold)


@pytest.mark.parametrize("threshold", [0, 1, -0.5, float("nan")])
def test_predict_refuses_a_threshold_that_is_no_probability(run, noise, tmp_path, threshold):
    with pytest.raises(UserError, match="give a probability between 0 and 1"):
        predict(run, noise, tmp_path / "out", threshold=threshold)
    assert not (tmp_path / "out").exists()


def test_predict_averages_runs_and_mirrored_images(run, noise, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    content = torch.load(other / "checkpoints/last.ckpt", weights_only=True)
    weights = content["state_dict"]
    last = [name for name in weights if name.startswith("network.final_conv")]
    weights |= {name: -3 * weights[name] for name in last}  # its logits, turned round
    torch.save(content, other / "checkpoints/last.ckpt")
    for name, runs in (("one", [run]), ("both", [run, other])):
        predict(runs, noise, tmp_path / name, probabilities=True)
    one, both = (np.log(probabilities_of(tmp_path / name, "a")) for name in ("one", "both"))
    np.testing.assert_allclose(both[1] - both[0], -(one[1] - one[0]), rtol=1e-3, atol=1e-3)

    mirrored = noise.parent / "mirrored"
    mirrored.mkdir()
    Image.fromarray(np.array(Image.open(noise / "b.png"))[::-1]).save(mirrored / "b.png")
    for folder in (noise, mirrored):
        predict(run, folder / "b.png", tmp_path / f"of_{folder.name}", probabilities=True, mirror=True)
    there, back = (probabilities_of(tmp_path / f"of_{name}", "b") for name in ("noise", "mirrored"))
    np.testing.assert_allclose(there, back[:, ::-1], atol=1e-5)


def test_predict_refuses_what_cannot_be_averaged(run, noise, tmp_path):
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"]["task"]["label_values"] = [0, 7]
    (tmp_path / "other/checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "other/checkpoints/last.ckpt")
    with pytest.raises(UserError, match=r"cannot predict together: their label_values are \(0, 255\) and"):
        predict([run, tmp_path / "other"], noise, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_test_step_depends_neither_on_neighbours_nor_on_processes(run, monkeypatch):
    rng = np.random.default_rng(1)
    images = [rng.uniform(size=(1, *shape)).astype(np.float32) for shape in [*SHAPES.values(), (32, 32)]]
    cases = Slices(images, [np.zeros(image.shape[1:], np.uint8) for image in images])
    module, config = load_run(run)
    loaders = Loaders(RunData.from_slices(task((0, 255)), cases, cases), config)

    def tested(rank, world):
        monkeypatch.setattr(loaders, "_place", lambda: (rank, world))
        with torch.inference_mode():
            steps = [(batch["name"], module.test_step(batch, 0)) for batch in loaders.test_dataloader()]
        return {name: output for names, outputs in steps for name, output in zip(names, outputs, strict=True)}

    single, shared = tested(0, 1), {**tested(0, 2), **tested(1, 2)}
    assert single.keys() == shared.keys() == {*cases.names}
    for index, name in enumerate(cases.names):
        (classes, probabilities), (others, theirs) = single[name], shared[name]
        np.testing.assert_array_equal(classes, others)
        assert torch.equal(probabilities, theirs) and probabilities.shape == (2, *images[index].shape[1:])
        assert probabilities.dtype == torch.float32 and classes.dtype == np.uint8
        np.testing.assert_array_equal(probabilities.argmax(0), classes)


def test_predict_on_a_machine_without_the_gpu_of_the_run(run, noise, tmp_path):
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"]["config"] |= {"accelerator": "gpu", "devices": 4, "precision": "16-mixed"}
    (tmp_path / "moved/checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "moved/checkpoints/last.ckpt")
    assert predict(tmp_path / "moved", noise, tmp_path / "out") == 3


def test_predict_takes_the_split_and_tells_what_was_trained_on(run, noise, tmp_path):
    copy, notes = shutil.copytree(run, tmp_path / "copy"), []
    (copy / "splits.json").write_text(json.dumps({"train": ["a", "b", "x"], "test": ["c"]}))
    assert predict(copy, noise, tmp_path / "all", on_note=notes.append) == 3
    assert len(notes) == 1 and "was trained on 2 of these 3 images" in notes[0]
    assert json.loads((tmp_path / "all/splits.json").read_text())["test"] == ["c"]
    assert predict(copy, noise, tmp_path / "test", split="test", on_note=notes.append) == 1
    assert (tmp_path / "test/c.png").exists() and len(notes) == 1
    with pytest.raises(UserError, match="no image has the name of a test case"):
        predict(run, noise, tmp_path / "none", split="test")
    (copy / "splits.json").write_text('{"train": 3}')
    with pytest.raises(UserError, match=r"splits\.json: must be"):
        predict(copy, noise, tmp_path / "damaged")
    assert not (tmp_path / "none").exists() and not (tmp_path / "damaged").exists()


def test_predict_tells_of_voxels_of_another_size(run, tmp_path):
    notes = []
    for name, step in (("fine", 0.25), ("like", 1.2)):
        save(tmp_path / f"images/{name}.nii.gz", np.eye(32, dtype=np.uint8), np.diag([step, step, 1.0, 1.0]))
    predict(run, tmp_path / "images", tmp_path / "out", on_note=notes.append)
    assert len(notes) == 1 and "1 of 2 images" in notes[0] and "fine.nii.gz: 0.25 x 0.25 mm" in notes[0]
