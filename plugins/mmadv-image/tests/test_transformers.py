"""`transformers` image classifiers from a folder: their processor's steps inside the differentiable target."""

from __future__ import annotations

import pytest
import torch

import mmadv
from mmadv.errors import ParameterError, TargetError
from mmadv_image.target import ImageTarget, Processor, TransformersTarget, load_folder

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def vit():
    """A tiny ViT with fixed random weights, and a processor of its usual kind."""
    config = transformers.ViTConfig(
        image_size=16,
        patch_size=8,
        num_channels=3,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(config).eval()
        with torch.no_grad():  # transformers starts the head at zero or nearly so
            model.classifier.weight.normal_()
    processor = transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    return model, processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("vit")
    model, processor = vit()
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


def images(height=20, width=24, count=4):
    """Smooth images of whole grey levels, so that the processor's 8 bits lose nothing on the way in."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).round() / 255


PROCESSORS = {
    "vit": lambda: transformers.ViTImageProcessor(size={"height": 16, "width": 16}),
    "bicubic": lambda: transformers.ViTImageProcessor(
        size={"height": 13, "width": 17}, resample=3, image_mean=[0.4, 0.5, 0.6], image_std=[0.2] * 3
    ),
    "larger": lambda: transformers.ViTImageProcessor(size={"height": 40, "width": 48}),
    "nearest": lambda: transformers.ViTImageProcessor(size={"height": 10, "width": 12}, resample=0),
    "plain": lambda: transformers.ViTImageProcessor(do_resize=False, do_normalize=False),
    "unscaled": lambda: transformers.ViTImageProcessor(do_resize=False, do_rescale=False, do_normalize=False),
    "crop": lambda: transformers.CLIPImageProcessor(
        size={"shortest_edge": 18}, crop_size={"height": 16, "width": 16}, do_convert_rgb=False
    ),
    "padded crop": lambda: transformers.CLIPImageProcessor(
        do_resize=False, crop_size={"height": 26, "width": 30}, do_convert_rgb=False
    ),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_processor_is_repeated_differentiably(name):
    processor = PROCESSORS[name]()
    x = images()
    ours = Processor(processor)(x.clone().requires_grad_())
    pictures = [(image * 255).round().to(torch.uint8) for image in x]
    theirs = processor(pictures, return_tensors="pt")["pixel_values"].float()
    assert ours.shape == theirs.shape
    std = min(processor.image_std) if processor.do_normalize else 1
    unit = (1 / 255 if processor.do_rescale else 1) / std
    difference = (ours - theirs).detach().abs()
    assert difference.max() <= 1.5 * unit  # it rounds to 8 bits after resizing each axis, and differs in nothing else
    assert difference.mean() <= 0.5 * unit


def test_a_folder_is_a_victim(folder):
    model, processor = vit()
    x = images()
    with torch.no_grad():
        pictures = [(image * 255).round().to(torch.uint8) for image in x]
        theirs = model(**processor(pictures, return_tensors="pt")).logits
    target = load_folder(folder)
    assert target.name == folder.name
    assert torch.allclose(target(x), theirs, atol=0.05)
    y = target(x).argmax(1)
    result = mmadv.attack(folder, x, y, "image.pgd", norm="linf", eps=16 / 255, steps=10)
    assert result.adv.shape == x.shape
    assert result.success.any()
    assert torch.equal(result.success, target(result.adv).argmax(1) != y)
    assert result.summary().trust == "reliable"


def test_a_model_in_memory_is_a_victim_with_its_processor(folder):
    model, processor = vit()
    x = images()
    options = {"norm": "linf", "eps": 8 / 255, "steps": 5}
    y = load_folder(folder)(x).argmax(1)
    one = mmadv.attack(model, x, y, "image.pgd", processor=processor, **options)
    other = mmadv.attack(str(folder), x, y, "image.pgd", **options)
    assert torch.equal(one.adv, other.adv)
    with pytest.raises(ParameterError, match="'mean' is used by neither"):
        mmadv.attack(model, x, y, "image.pgd", processor=processor, mean=[0.5] * 3, std=[0.5] * 3, **options)


def test_no_gradient_stays_on_the_model():
    model, processor = vit()
    x = images()
    mmadv.attack(model, x, [0, 1, 2, 3], "image.fgsm", processor=processor, eps=0.1)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_folder_that_would_need_unpickling_is_refused(folder, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save(vit()[0].state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(TargetError, match=r"pytorch_model\.bin would need unpickling") as caught:
        mmadv.attack(tmp_path, images(), [0] * 4, "image.fgsm", eps=0.1)
    assert "save_pretrained" in caught.value.fix


def test_folders_that_hold_no_classifier_are_refused(folder, tmp_path):
    with pytest.raises(TargetError, match="the folder holds no safetensors"):
        load_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(TargetError, match="no image classifier could be loaded"):
        load_folder(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(TargetError, match="no image classifier could be loaded"):
        load_folder(tmp_path)


def test_what_cannot_be_repeated_is_refused():
    with pytest.raises(TargetError, match="resamples with filter 1"):
        Processor(transformers.ViTImageProcessor(resample=1))
    with pytest.raises(
        TargetError, match=r"the processor makes \(3, 16, 16\) of an image where its steps, repeated, make"
    ):
        Processor(transformers.ConvNextImageProcessor(size={"shortest_edge": 16}, crop_pct=0.875))
    body = transformers.ViTModel(vit()[0].config).eval()
    with pytest.raises(TargetError, match="without logits"):
        TransformersTarget(body)(images(16, 16))


def test_channels_last_and_normalisation_of_plain_modules():
    victim = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    x = images(8, 8)
    plain, last = ImageTarget(victim), ImageTarget(victim, channels_last=True)
    assert torch.allclose(plain(x), last(x), atol=1e-6)
    scaled = ImageTarget(victim, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    assert torch.allclose(scaled(x), victim((x - mean) / std), atol=1e-6)
    assert len({target.fingerprint() for target in (plain, scaled)}) == 2
