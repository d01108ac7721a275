"""`keras-coda explain`: explain image files or a video, with a network here or on a server."""

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Explain predictions for image files, or for a video. For every image it writes a picture (NAME.png: the image "
    "beside one map per class) and all numbers (NAME.npz, see Explanation.load); for a video another video that shows "
    "every frame beside its map."
)
EXAMPLE = (
    "keras-coda explain --model runs/photos/model --top-k 2 --out explanations holiday/ cat.jpg\n"
    "  keras-coda explain --model runs/photos/model --classes cat --start 10 --end 25 --video cat.mp4 explained.mp4"
)
OF_VIDEO = ("--region", "--start", "--end", "--image-size")
NOT_OF_VIDEO = ("--out", "--server", "--top-k", "--wrt", "--linear-map", "--max-side")
VIDEO_ENDINGS = (".mp4", ".mov", ".mkv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help=common.IMAGES_HELP)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar=common.MODEL, help=common.MODEL_HELP)
    source.add_argument(
        "--server",
        metavar="URL",
        help="a model on a server: http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME; needs keras-coda[serving]",
    )
    parser.add_argument("--out", metavar="FOLDER", help="folder for the results of images")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--classes",
        metavar="A,B",
        help="names or indices of classes; default: the predicted class. For a video one class; default: the most "
        "frequent prediction",
    )
    which.add_argument("--top-k", type=common.positive, metavar="K", help="the K most probable classes instead")
    parser.add_argument("--wrt", metavar="LAYER", help="contributions of this layer's activations instead of pixels")
    parser.add_argument("--linear-map", action="store_true", help="also save the linear map, and NAME.linear_map.png")
    common.add_max_side(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    video = parser.add_argument_group(
        "video",
        "Needs keras-coda[video]. All frames have the same color scale and keep their times; sound is dropped. If the "
        "network has a fixed image size, it sees the middle of the frame, or of the region, cut to its proportions.",
    )
    video.add_argument(
        "--video",
        nargs=2,
        metavar=("IN", "OUT"),
        help="explain a video; OUT ends in .mp4, .mov (H.264) or .mkv (lossless)",
    )
    video.add_argument(
        "--region", type=_region, metavar="X,Y,W,H", help="the part of the video to use, in pixels; default: all"
    )
    video.add_argument("--start", type=float, metavar="SECONDS", help="where to begin; default: 0")
    video.add_argument("--end", type=float, metavar="SECONDS", help="where to end; default: the end of the video")
    video.add_argument(
        "--image-size",
        type=common.image_size,
        metavar="SIDE|HxW",
        help="resize frames, if the network takes images of any size",
    )


def _region(text):
    numbers = tuple(map(int, text.split(",")))
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"must be X,Y,WIDTH,HEIGHT. Received: {text}")
    return numbers


_region.__name__ = "region X,Y,W,H"


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    if args.video:
        given = (["PATH"] if args.paths else []) + checks.given(args, *NOT_OF_VIDEO)
        checks.require_usage(not given, f"not allowed with --video IN OUT: {', '.join(given)}")
        checks.require_usage("," not in (args.classes or ""), "argument --classes: a video is explained for one class")
    else:
        missing = [name for name, value in {"PATH": args.paths, "--out": args.out}.items() if not value]
        text = f"the following arguments are required: {', '.join(missing)}; or --video IN OUT"
        checks.require_usage(not missing, text)
        given = checks.given(args, *OF_VIDEO)
        checks.require_usage(not given, f"only allowed with --video IN OUT: {', '.join(given)}")
    if args.server:
        _check_server(args)
    else:
        checks.check_model(args.model)
    if args.video:
        _check_video(args, *args.video)
        return
    for path in args.paths:
        checks.check_images(path)
    checks.check_out_folder(args.out)


def _check_server(args):
    given = checks.given(args, "--top-k", "--wrt", "--linear-map", "--max-side")
    rule = "With --server the number of classes, and what is computed of them, was decided at export"
    checks.require(not given, rule, ", ".join(given), "Leave them out")
    url = urlsplit(args.server)
    is_known = url.scheme in ("http", "https", "grpc") and url.netloc
    rule = "--server must be http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME"
    checks.require(is_known, rule, repr(args.server))
    modules = ("grpc", "tensorflow_serving") if url.scheme == "grpc" else ("requests",)
    checks.require_extra("serving", *modules, purpose="--server")


def _check_video(args, source, out):
    rule = "A video must be a readable file"
    found, new = checks.check_readable(source, rule), Path(out).expanduser()
    checks.require(not found.is_dir(), rule, f"'{source}', which is a folder")
    endings = f"A video to write must end in {', '.join(VIDEO_ENDINGS)}"
    fix = "Choose .mp4 to look at it, .mkv to keep every pixel as it is"
    checks.require(new.suffix.lower() in VIDEO_ENDINGS, endings, f"'{out}'", fix)
    checks.check_file_to_write(out, "--video")
    is_source = new.exists() and new.samefile(found)
    rule = "The result must not replace its source"
    checks.require(not is_source, rule, f"'{out}'", "Choose another name", FileExistsError)
    fix = "Choose another name, or replace it: --overwrite"
    is_new = args.overwrite or not new.exists()
    checks.require(is_new, "Results must not replace files", f"'{out}'", fix, FileExistsError)
    start, end = args.start or 0.0, args.end
    rule = "--start must be 0 or later, and --end after it"
    checks.require(start >= 0 and (end is None or end > start), rule, f"--start {start:g}, --end {end}")
    checks.require_extra("video", "av", purpose="--video")


def run(args: argparse.Namespace) -> None:
    """Explain and print one row per image and class, or the facts of the video."""
    if args.video:
        return _explain_video(args)
    from keras_coda.explanations.files import explain_files, explain_files_on_server

    classes = None if args.classes is None else [entry.strip() for entry in args.classes.split(",")]
    options = {"classes": classes, "overwrite": args.overwrite}
    if args.server:
        from keras_coda.serving.connect import connect

        with connect(args.server) as client:
            rows = explain_files_on_server(client, args.paths, args.out, **options)
    else:
        options |= {"top_k": args.top_k, "wrt": args.wrt, "linear_map": args.linear_map}
        options |= {"max_side": common.max_side(args)}
        rows = explain_files(common.load_model(args.model, any_model=True), args.paths, args.out, **options)
    common.print_table([("file", "class", "probability", "residual"), *rows])


def _explain_video(args):
    from keras_coda.data.video import VideoSource
    from keras_coda.explanations.video import explain_video

    source, out = args.video
    VideoSource(source)  # a broken file is refused before the network is loaded
    result = explain_video(
        common.load_model(args.model, any_model=True),
        source,
        out,
        class_=args.classes and args.classes.strip(),
        region=args.region,
        start=args.start or 0.0,
        end=args.end,
        image_size=args.image_size,
        overwrite=args.overwrite,
    )
    common.print_table([
        ("video", out + ", without the sound" * result.audio_dropped),
        ("frames", f"{result.num_frames} in {result.seconds:.2f} s"),
        ("class", f"{result.class_name}, the prediction for {result.share:.1%} of them"),
        ("network saw", "{2}x{3} pixels at {0},{1}".format(*result.seen)),
        ("colors end at", f"{result.limit:.2g}"),
        ("largest residual", f"{result.residual:.1e}"),
    ])  # fmt: skip
