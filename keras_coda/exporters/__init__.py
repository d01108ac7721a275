"""Networks for other runtimes: SavedModel, ONNX and LiteRT, with predictions and maps.

Here belongs what writes, checks and runs exported networks. Clients of servers belong to `keras_coda.serving`.
"""

from keras_coda.exporters.saved_model import compare_saved_model as compare_saved_model
from keras_coda.exporters.saved_model import export_saved_model as export_saved_model
from keras_coda.exporters.signatures import Signatures as Signatures
from keras_coda.exporters.single_file import convert as convert
