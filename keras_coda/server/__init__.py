"""The server: predictions and exact maps over HTTP, by KServe's Python server. It needs ``keras-coda[serve]``.

Here belongs what turns requests into calls of a network and back. Only `application` imports KServe, an optional
package; it is imported when the server starts. The clients are in :mod:`keras_coda.serving`.
"""

from keras_coda.server.server import serve as serve
