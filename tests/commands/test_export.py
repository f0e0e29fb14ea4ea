"""`boundaryloss export`: a run as an ONNX file that gives what `predict` gives."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from boundaryloss import cli
from boundaryloss.training.config import TrainConfig
from boundaryloss.training.model.module import SegmentationModule
from boundaryloss.training.task import Task

TINY = {"features": (4, 4, 4, 4, 4), "accelerator": "cpu"}


def make_run(folder, config, task):
    """A run with weights by chance, in every affine parameter too."""
    torch.manual_seed(0)
    module = SegmentationModule(config, task)
    for parameter in module.network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    (folder / "checkpoints").mkdir(parents=True)
    content = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict(), "epoch": 0}
    torch.save(content, folder / "checkpoints/last.ckpt")
    return module.eval()


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code


def export(folder, config, task):
    """Return the network, a session of its ONNX file, and what the metadata say."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    module = make_run(folder / "run", config, task)
    assert run("export", folder / "run", "--out", folder / "new/model.onnx") == 0
    session = runtime.InferenceSession(folder / "new/model.onnx", providers=["CPUExecutionProvider"])
    return module, session, json.loads(session.get_modelmeta().custom_metadata_map["boundaryloss"])


DYNUNET = {"network": "dynunet", "features": (4, 8, 8, 8), "accelerator": "cpu"}
VOXEL = (1.0, 1.0, 3.0)
CASES = {
    "basicunet": (TINY, Task(1, (0, 9), (1.0, 1.0)), [(2, 1, 32, 32), (1, 1, 64, 48)]),
    "dynunet": (DYNUNET, Task(2, (0, 1, 7), VOXEL, (16, 16, 8)), [(2, 2, 16, 16, 8), (3, 2, 32, 16, 16)]),
    "deep": (
        {**DYNUNET, "deep_supervision": "full"},
        Task(1, (0, 1), VOXEL, (32, 16, 16)),
        [(1, 1, 32, 16, 16)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_export_gives_the_logits_of_the_network(tmp_path, case):
    settings, known, sizes = CASES[case]
    module, session, facts = export(tmp_path, TrainConfig(**settings), known)
    assert facts["label_values"] == [*known.label_values] and facts["spacing_mm"] == [*known.spacing]
    assert facts["patch"] == (known.patch and [*known.patch])
    for size in sizes:
        image = torch.rand(size)
        with torch.no_grad():
            expected = module.network(image).numpy()
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_export_and_its_metadata_give_what_predict_gives(tmp_path):
    _, session, facts = export(tmp_path, TrainConfig(**TINY), Task(1, (0, 3, 200), (1.0, 1.0)))
    image = np.random.default_rng(0).integers(0, 256, (48, 32)).astype(np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(image).save(tmp_path / "images/a.png")
    assert run("predict", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "out") == 0
    assert (
        facts["activation"] == "softmax"
        and facts["windows"] == []
        and facts["scaling"].endswith("value / 255")
    )
    (logits,) = session.run(None, {"image": (image / np.float32(255))[None, None]})
    values = np.array(facts["label_values"])[logits[0].argmax(0)]
    predicted = np.array(Image.open(tmp_path / "out/a.png"))
    assert len(np.unique(values)) > 1 and (values == predicted).mean() > 0.999


def test_export_refuses_what_it_cannot_write(tmp_path, capsys):
    pytest.importorskip("onnx")
    make_run(tmp_path / "run", TrainConfig(**TINY), Task(1, (0, 1), (1.0, 1.0)))
    (tmp_path / "there.onnx").write_bytes(b"mine")
    for arguments, words in {
        ("run", "there.onnx"): "there.onnx is there already",
        ("run", "model.pt"): "name it model.onnx",
        ("run", "there.onnx/model.onnx"): "cannot make the folder",
        ("nowhere", "model.onnx"): "nowhere",
    }.items():
        source, out = (tmp_path / name for name in arguments)
        assert run("export", source, "--out", out) == 2
        out, err = capsys.readouterr()
        assert out == "" and words in err and err.startswith("boundaryloss: ") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "there.onnx"]
