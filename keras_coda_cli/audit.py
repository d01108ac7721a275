"""`keras-coda audit`: one row per image of a folder, with what the network decided and why, in Parquet files."""

import argparse
import glob
import os

from keras_coda_cli import checks, common

DESCRIPTION = (
    "Record what a network decides for each image of a folder, and why. It writes one row per image to Parquet files: "
    "hashes of image and network, logits, probabilities, the decision, statistics of the map and its completeness "
    "error; files that cannot be read are rows with the reason. An audit that was killed goes on with the same "
    "command. At the end it writes report.html, which needs no network, and model_card.md, which may be edited."
)
EXAMPLE = "keras-coda audit --model runs/photos/model --data photos/validation --out audit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    common.add_model(parser)
    add_audited(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder for the audit; it may hold a killed one")
    parser.add_argument("--maps", action="store_true", help="also store the maps, as float16")
    parser.add_argument("--shard-size", type=common.positive, default=1000, help="rows of a Parquet file")
    parser.add_argument("--batch-size", type=common.positive, default=32, help="images explained at a time")
    common.add_max_side(parser)
    parser.add_argument("--reference", metavar="AUDIT", help="another audit, with which the report compares this one")
    parser.add_argument("--no-report", action="store_true", help="write the rows only")


def add_audited(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``: the images of an audit."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="FOLDER|CSV",
        help="folder of images (folders named like classes are the labels), or a CSV file: file,cat,dog in its first "
        "line, then a path and 0 or 1 for each class",
    )


def check_audited(args: argparse.Namespace) -> None:
    """Check ``--model`` and ``--data``."""
    checks.check_model(args.model)
    tables = common.load_without_package("data.label_tables")
    if tables.is_table(args.data):
        tables.read_tables(args.data)  # raises for wrong lines
    else:
        rule = "--data must be a folder of images, or a CSV file of labels"
        checks.require(checks.check_readable(args.data, rule).is_dir(), rule, f"'{args.data}', a file")
        checks.check_images(args.data)


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    check_audited(args)
    checks.require_extra("audit", "pyarrow", purpose="An audit")
    checks.check_out_folder(args.out)
    checks.require_usage(not (args.reference and args.no_report), "--reference: not allowed with --no-report")
    if args.reference:
        check_finished(args.reference, "--reference")


def check_finished(folder: str, option: str) -> None:
    """Check that a folder holds a finished audit."""
    is_audit = os.path.isfile(os.path.join(os.path.expanduser(folder), "manifest.json"))
    rule, fix = f"{option} must be a folder with a finished audit", "Run `keras-coda audit` to its end"
    checks.require(is_audit, rule, f"'{folder}'", fix)


def run(args: argparse.Namespace) -> None:
    """Write the audit and print what it holds."""
    from keras_coda import auditing

    def progress():
        return f"Finished files: {len(glob.glob(os.path.join(args.out, 'rows', '*.parquet')))}."

    model = common.load_model(args.model, any_model=True)
    options = {"keep_maps": args.maps, "shard_size": args.shard_size, "batch_size": args.batch_size}
    with common.resumable(progress):
        found = auditing.audit(model, args.data, args.out, max_side=common.max_side(args), **options)
        written = "none"
        if not args.no_report:
            about = _about(args.model)
            written = str(auditing.report(args.out, model, args.data, reference=args.reference, about=about))
    common.print_table([
        ("rows", f"{found.images} in {len(found.shards)} Parquet files"),
        ("unreadable", found.unreadable),
        ("report", written),
        ("hash", f"{found.audit_hash} (keep it elsewhere, for `keras-coda verify-audit --hash`)"),
    ])  # fmt: skip


def _about(model: str) -> str:
    """Return the README.md of a preset folder; "" if there is none."""
    folder = None if model.lower().endswith(".keras") else checks.preset_folder(model)
    readme = folder and folder / "README.md"
    return readme.read_text(encoding="utf-8") if readme and readme.is_file() else ""
