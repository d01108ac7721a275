"""What the commands of the command line do with their arguments."""

import argparse
import json
import warnings
from pathlib import Path


def demo(args: argparse.Namespace) -> None:
    """Train on the digits, explain, export and check all of it."""
    from keras_coda_cli import demo

    results = demo.run(args.out, epochs=args.epochs, seed=args.seed)
    _print_table([
        ("validation accuracy", f"{results['validation_accuracy']:.2%}"),
        ("largest completeness residual", f"{results['largest_residual']:.1e}"),
        ("time per epoch", f"{results['seconds_per_epoch']:.2f} s"),
        ("SavedModel against Keras", f"{results['saved_model_difference']:.1e} (largest difference)"),
        *((name.replace("_", " "), results[name]) for name in ("pictures", "model", "saved_model")),
    ])  # fmt: skip


def train(args: argparse.Namespace) -> None:
    """Train a network, or go on with it."""
    from keras_coda_cli import train_command

    _print_table(train_command.run(args))


def evaluate(args: argparse.Namespace) -> None:
    """Measure a network on validation images."""
    from keras_coda import evaluation

    model = _load_model(args.model)
    data = _load_for(model, args)
    figures = {"model": str(args.model), "data": data.name}
    figures |= evaluation.evaluate(model, data.validation, num_images=data.num_validation)
    _print_table([
        ("accuracy", f"{figures['accuracy']:.2%} of {figures['num_images']} images"),
        ("loss", f"{figures['loss']:.4f}"),
        ("largest residual", f"{figures['largest_residual']:.1e}"),
        ("images/s", f"{figures['images_per_second']:.0f} (prediction and map)"),
    ])  # fmt: skip
    if args.json:
        from keras_coda.utils.atomic import new_file

        with new_file(args.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def compare(args: argparse.Namespace) -> None:
    """Measure contribution maps and post-hoc methods beside each other."""
    from keras_coda import evaluation
    from keras_coda.visualization.figure import save_picture

    model = _load_model(args.model)
    data = _load_for(model, args)
    methods = None if args.methods is None else [name.strip() for name in args.methods.split(",")]
    options = {"n_grids": args.grids, "n_images": args.images, "out": args.out}
    comparison = evaluation.compare(model, data.validation, methods, **options)
    print(comparison)
    save_picture(comparison.plot(), Path(args.out) / "comparison.png")


def tune(args: argparse.Namespace) -> None:
    """Search for hyperparameters."""
    from keras_coda import data, training, tuning
    from keras_coda.visualization.figure import save_picture

    preset = args.preset or training.default_preset(args.data)
    names = ("temperature", "rank_multiplier", "learning_rate", "linear_map_regularization")
    space = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    weight = args.accuracy_weight
    objective = None if weight is None else {"val_accuracy": weight, "localization": 1 - weight}
    images = data.load(
        args.data, batch_size=args.batch_size, image_size=args.image_size or training.image_size(preset, args.data),
        validation_split=args.validation_split, seed=args.seed, data_dir=args.data_dir,
    )  # fmt: skip
    result = tuning.tune(
        images, preset, args.out, oracle=args.oracle, trials=args.trials, epochs=args.epochs, objective=objective,
        seed=args.seed, **space,
    )  # fmt: skip
    if result is None:  # a worker: the chief has the result
        return
    print(result.table())
    save_picture(result.plot(), Path(args.out) / "search.png")


def explain(args: argparse.Namespace) -> None:
    """Explain predictions for image files, by a network or by a server that has one; or for a video."""
    if args.video:
        return _explain_video(args)
    from keras_coda.explanations import files as explain_files
    from keras_coda.utils.checks import require

    classes = None if args.classes is None else [entry.strip() for entry in args.classes.split(",")]
    options = {"classes": classes, "overwrite": args.overwrite}
    if args.server:
        from keras_coda import serving

        given = {"--top-k": args.top_k, "--wrt": args.wrt, "--linear-map": args.linear_map}
        rule = "With --server, how many classes and what of them is computed was decided at export"
        require(not any(given.values()), rule, "Leave them out", **{k: v for k, v in given.items() if v})
        with serving.connect(args.server) as client:
            rows = explain_files.explain_files_on_server(client, args.paths, args.out, **options)
    else:
        options |= {"top_k": args.top_k, "wrt": args.wrt, "linear_map": args.linear_map}
        rows = explain_files.explain_files(_load_model(args.model), args.paths, args.out, **options)
    _print_table([("file", "class", "probability", "residual"), *rows])


def explore(args: argparse.Namespace) -> None:
    """Serve the explorer until it is interrupted."""
    from keras_coda.explorer import launch

    options = {"host": args.host, "port": args.port, "max_upload_mb": args.max_upload_mb}
    launch.explore(args.model, open_browser=args.open, **options)


def _explain_video(args):
    from keras_coda.data import video as video_files
    from keras_coda.explanations import video as explain_video

    source, out = args.video
    video_files.VideoSource(source)  # what is wrong with it is said before anybody waits for the network
    result = explain_video.explain_video(
        _load_model(args.model), source, out, class_=args.classes and args.classes.strip(), region=args.region,
        start=args.start or 0.0, end=args.end, image_size=args.image_size, overwrite=args.overwrite,
    )  # fmt: skip
    _print_table([
        ("video", out + ", without the sound" * result.audio_dropped),
        ("frames", f"{result.num_frames} in {result.seconds:.2f} s"),
        ("class", f"{result.class_name}, the prediction for {result.share:.1%} of them"),
        ("network saw", "{2}x{3} pixels at {0},{1}".format(*result.seen)),
        ("colors end at", f"{result.limit:.2g}"),
        ("largest residual", f"{result.residual:.1e}"),
    ])  # fmt: skip


def export(args: argparse.Namespace) -> None:
    """Write a network for other runtimes and compare it with Keras."""
    from keras_coda.utils.checks import require

    model = _load_model(args.model)
    options = {"top_k": args.top_k, "image_size": args.image_size, "linear_map": args.linear_map}
    if args.format != "tf_saved_model":
        given = {"--warmup": args.warmup, "--verify": args.verify}
        require(
            not any(given.values()), "Only a SavedModel has warm-up requests and a check", "Leave them out", **given
        )
        model.export(args.out, args.format, **options)
        _print_table([(args.format, args.out), ("size", f"{Path(args.out).stat().st_size / 2**20:.1f} MB")])
        return
    from keras_coda.exporters import lint, saved_model

    model.export(args.out, warmup=args.warmup, **options)
    if args.verify:
        checks = lint.verify(args.out, model)
        print(lint.table(checks))
        failed = [check.name for check in checks if not check.passed]
        if failed:
            raise RuntimeError(f"An exported folder must pass all checks. Received: '{args.out}', failed: {failed}")
        return
    difference = saved_model.compare_saved_model(model, args.out)
    _print_table([("SavedModel", args.out), ("SavedModel against Keras", f"{difference:.1e} (largest difference)")])


def presets(args: argparse.Namespace) -> None:
    """List the architectures."""
    from keras_coda.models import presets as table

    rows = [("name", "parameters", "input", "trained", "description")]
    for name in table.names():
        config, folder = table.architecture(name), table.folder(name)
        size = "x".join("any" if side is None else str(side) for side in config["input_shape"])
        rows.append(
            (name, f"{table.count_parameters(name):,}", size, "yes" if folder else "no", table.description(name))
        )
    _print_table(rows)


def _load_model(name):
    from keras_coda.models.coda_net import CoDANet

    return CoDANet.from_preset(name, load_weights=True)


def _load_for(model, args):
    """Load the data of the arguments as a model's validation images."""
    from keras_coda.data.load import load

    *size, channels = model.input.shape[1:]
    if args.image_size is None and None not in size:
        args.image_size = tuple(size)
    data = load(
        args.data, batch_size=args.batch_size, image_size=args.image_size, validation_split=args.validation_split,
        augment=False, seed=args.seed, data_dir=args.data_dir,
    )  # fmt: skip
    if (data.num_classes, data.image_shape[-1]) != (model.num_classes, channels):
        raise ValueError(
            f"The data must fit the network: {model.num_classes} classes, {channels} channels. Received: data "
            f"{args.data!r}, {data.num_classes} classes, {data.image_shape[-1]} channels."
        )
    if model.class_names and tuple(data.class_names) != tuple(model.class_names):
        warnings.warn(f"The data name their classes {data.class_names}, the network {model.class_names}.", stacklevel=2)
    return data


def _print_table(rows):
    """Print rows of equal length with aligned columns."""
    rows = [tuple(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
