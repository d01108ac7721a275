"""`keras-coda verify-audit`: compute the rows of an audit again, and find every one that was changed."""

import argparse

from keras_coda_cli import audit, checks, common

DESCRIPTION = (
    "Check that an audit is as it was written. It computes all rows again, and names every row that was changed, "
    "removed or added, every image that is another one now, and another network. The exit code is 1 if so."
)
EXAMPLE = "keras-coda verify-audit --audit audit --model runs/photos/model --data photos/validation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--audit", required=True, metavar="FOLDER", help="the audit: OUT of `keras-coda audit`")
    common.add_model(parser)
    audit.add_audited(parser)
    parser.add_argument("--hash", metavar="HASH", help="the hash that `keras-coda audit` printed, if it was kept")


def check(args: argparse.Namespace) -> None:
    """Find wrong arguments."""
    audit.check_audited(args)
    checks.require_extra("audit", "pyarrow", purpose="An audit")
    audit.check_finished(args.audit, "--audit")


def run(args: argparse.Namespace) -> None:
    """Verify, and raise an error that lists what was found."""
    from keras_coda import auditing
    from keras_coda.auditing.verifying import short_list
    from keras_coda.utils.errors import ChangedAuditError

    model = common.load_model(args.model, any_model=True)
    found = auditing.verify_audit(args.audit, model, args.data, audit_hash=args.hash)
    if found:
        raise ChangedAuditError(
            f"An audit must be as it was written. Received: '{args.audit}' with {len(found)} differences:\n"
            f"{short_list(found)}"
        )
    print("The audit is as it was written: all rows were computed again.")
