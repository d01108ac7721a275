"""Networks for other runtimes: SavedModel, ONNX and LiteRT, with predictions and maps.

Here belongs what writes, checks and runs exported networks. Clients of servers belong to `keras_coda.serving`.
"""

from keras_coda.exporters.lint import Finding as Finding
from keras_coda.exporters.lint import lint_saved_model as lint_saved_model
from keras_coda.exporters.lint import require_servable as require_servable
from keras_coda.exporters.nan_guard import PortableNetwork as PortableNetwork
from keras_coda.exporters.saved_model import compare_saved_model as compare_saved_model
from keras_coda.exporters.saved_model import export_saved_model as export_saved_model
from keras_coda.exporters.signatures import Signatures as Signatures
from keras_coda.exporters.single_file import convert as convert
from keras_coda.exporters.verify import Check as Check
from keras_coda.exporters.verify import checks_table as checks_table
from keras_coda.exporters.verify import verify_saved_model as verify_saved_model
from keras_coda.exporters.warmup import replay_warmup as replay_warmup
from keras_coda.exporters.warmup import write_warmup as write_warmup
