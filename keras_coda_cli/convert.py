"""`keras-coda convert`: a preset folder from a PyTorch state dict."""

import argparse
from pathlib import Path

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Convert a PyTorch state dict of a CoDA-Net or B-cos network into a preset folder, which all commands take as "
    "--model. The architecture follows from the file. B-cos networks with the stem for large images are for photos, "
    "which are prepared as usual for ImageNet: resized to 256 pixels, then cut to 224x224."
)
EXAMPLE = "keras-coda convert --from bcos resnet_50.pth --class-names imagenet.txt --out models/bcos_resnet50"
RESIZE, CROP = 256, 224
OF_BCOS = ("--b",)
OF_CODA = ("--strides", "--rescaling")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a state dict: .pth or .pt (needs keras-coda[torch]), .npz or .safetensors; no code of it is run",
    )
    parser.add_argument(
        "--from", dest="kind", choices=("bcos", "coda"), required=True, help="whose code wrote the state dict"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the preset folder to write; must not exist")
    parser.add_argument(
        "--class-names", metavar="FILE", help="a text file with the names of the classes, one on each line"
    )
    images = parser.add_argument_group("images", "How image files are read for the network.")
    images.add_argument(
        "--resize",
        type=common.positive,
        metavar="PIXELS",
        help=f"resize photos by their shorter side, then cut --crop; default for photos: {RESIZE}",
    )
    images.add_argument(
        "--crop", type=common.positive, metavar="PIXELS", help=f"side of the square; default for photos: {CROP}"
    )
    images.add_argument(
        "--image-size",
        type=common.image_size,
        metavar="SIDE|HxW",
        help="instead: scale images to cover this size and cut them to it",
    )
    settings = parser.add_argument_group("settings", "What a state dict does not say.")
    settings.add_argument("--b", type=float, metavar="B", help="bcos: the exponent of all layers; default: 2")
    settings.add_argument(
        "--temperature", type=float, metavar="T", help="logits are divided by it; default: 1 for bcos, 1000 for coda"
    )
    settings.add_argument(
        "--logit-bias", type=float, help="default: -log(classes - 1) for bcos, log(0.1 / 0.9) for coda"
    )
    settings.add_argument(
        "--strides", type=_strides, metavar="N,N,...", help="coda: one for all layers, or one for each"
    )
    settings.add_argument("--rescaling", choices=("squash", "l2"), help="coda: default: squash")


def _strides(text):
    return tuple(common.positive(entry) for entry in text.split(","))


_strides.__name__ = "strides N,N,..."


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    others = checks.given(args, *(OF_CODA if args.kind == "bcos" else OF_BCOS))
    checks.require_usage(not others, f"not allowed with --from {args.kind}: {', '.join(others)}")
    sides = checks.given(args, "--resize", "--crop")
    checks.require_usage(len(sides) != 1, "--resize and --crop belong together")
    checks.require_usage(not (sides and args.image_size), "not allowed with --image-size: --resize, --crop")
    if sides:
        rule = "--crop must not exceed --resize"
        checks.require(args.crop <= args.resize, rule, f"--resize {args.resize} --crop {args.crop}")
    checks.require_range(args, "--b", 1, ends="[)")
    checks.require_range(args, "--temperature", 0)
    checks.require_range(args, "--logit-bias", -1e6, 1e6)
    rule = "A state dict must be a readable file"
    found = checks.check_readable(args.file, rule)
    checks.require(not found.is_dir(), rule, f"'{args.file}', a folder")
    if found.suffix.lower() in (".pth", ".pt"):
        checks.require_extra("torch", "torch", purpose=f"'{args.file}', a PyTorch pickle,")
    if args.class_names:
        read_names(args.class_names)
    checks.check_new_path(args.out)


def read_names(path: str) -> list[str]:
    """Return the lines of a text file with the names of classes."""
    rule = "--class-names must be a text file with one name on each line"
    found = checks.check_readable(path, rule)
    checks.require(not found.is_dir(), rule, f"'{path}', a folder")
    try:
        names = [line.strip() for line in found.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{rule}, in UTF-8. Received: '{path}' ({error})") from error
    checks.require(names and all(names), rule, f"'{path}' with {len(names)} lines, {names.count('')} of them empty")
    return names


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was found."""
    from keras_coda.models import load_bcos_checkpoint, load_coda_checkpoint

    options = {"logit_bias": args.logit_bias, "class_names": read_names(args.class_names) if args.class_names else None}
    prepared = {"resize": args.resize, "crop": args.crop} if args.crop else None
    if args.kind == "bcos":
        given = {} if args.b is None else {"b": args.b}
        model = load_bcos_checkpoint(args.file, logit_temperature=args.temperature, **given, **options)
        if model.get_config()["stem"] == "large" and not args.image_size and not prepared:
            prepared = {"resize": RESIZE, "crop": CROP}
    else:
        strides = args.strides[0] if args.strides and len(args.strides) == 1 else args.strides
        options |= {"strides": strides, "rescaling": args.rescaling, "temperature": args.temperature}
        model = load_coda_checkpoint(args.file, **options)
    size = (prepared["crop"],) * 2 if prepared else args.image_size
    if size:
        model = model.with_input_shape((*size, model.input.shape[-1]))
    model.preparation = prepared
    model.save_to_preset(args.out)
    height, width, _ = model.input.shape[1:]
    images = "of any size" if None in (height, width) else f"{height}x{width}"
    if prepared:
        images += ", cut out of photos whose shorter side is resized to {resize}".format(**prepared)
    common.print_table([
        ("preset", Path(args.out)), ("network", f"{type(model).__name__}, {model.count_params():,} parameters"),
        ("classes", model.num_classes), ("images", images),
        ("next", f"keras-coda explain --model {args.out} --out explanations PHOTO"),
    ])  # fmt: skip
