"""Records of what a network decided, and why: one row per image, reports of them, and the check that none was changed.

This room is for what is written down about many images. Single explanations belong to `keras_coda.explanations`, and
figures of a network's quality to `keras_coda.evaluation`.
"""

from keras_coda.auditing.dataset import Explained as Explained
from keras_coda.auditing.dataset import WorkerEndedError as WorkerEndedError
from keras_coda.auditing.dataset import explain_dataset as explain_dataset
from keras_coda.auditing.drift import Drift as Drift
from keras_coda.auditing.drift import drift as drift
from keras_coda.auditing.report import report as report
from keras_coda.auditing.rows import COLUMNS as COLUMNS
from keras_coda.auditing.rows import Column as Column
from keras_coda.auditing.rows import make_rows as make_rows
from keras_coda.auditing.rows import row_hash as row_hash
from keras_coda.auditing.rows import schema as schema
from keras_coda.auditing.rows import unreadable_row as unreadable_row
from keras_coda.auditing.rows import versions as versions
from keras_coda.auditing.summary import Summary as Summary
from keras_coda.auditing.verifying import Finding as Finding
from keras_coda.auditing.verifying import verify_audit as verify_audit
from keras_coda.auditing.writing import Manifest as Manifest
from keras_coda.auditing.writing import audit as audit
