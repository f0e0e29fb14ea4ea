import numpy as np
import pytest
from PIL import Image

from boundaryloss.training.config import TrainConfig
from boundaryloss.training.data import Slices
from boundaryloss.training.errors import UserError
from boundaryloss.training.predict import load_run, predict
from boundaryloss.training.run import RunData, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = [np.pad(np.ones((8, 8), np.uint8), ((8, 16), (6, 18))) for _ in range(4)]
    images = [np.maximum(rng.uniform(0, 0.2, (1, 32, 32)), label).astype(np.float32) for label in labels]
    slices = Slices(images, labels)
    config = TrainConfig(loss="dice", epochs=40, batch_size=4, features=(8, 8, 8, 8, 8), learning_rate=0.01,
                         validation=0.0, accelerator="cpu")  # fmt: skip
    out = tmp_path_factory.mktemp("predict") / "run"
    train(RunData(slices, slices, (0, 255), 1, (1.0, 1.0)), config, out)
    return out


def write_image(path, shape):
    image = np.full(shape, 20, np.uint8)
    image[8:16, 6:14] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_predict_writes_the_label_values_at_the_original_size(run, tmp_path):
    shapes = {"a": (32, 32), "b": (37, 45)}
    for name, shape in shapes.items():
        write_image(tmp_path / f"images/{name}.png", shape)
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


def test_predict_without_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt"):
        predict(tmp_path, tmp_path, tmp_path / "out")


def test_predict_with_a_damaged_checkpoint(run, tmp_path):
    content = (run / "checkpoints/last.ckpt").read_bytes()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is damaged or no checkpoint"):
        predict(tmp_path, tmp_path, tmp_path / "out")
