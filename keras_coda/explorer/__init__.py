"""The explorer: predictions, exact maps and what-if questions in a browser. It needs ``keras-coda[explore]``.

Here belongs what the page computes, shows and serves. `handlers` change a session, `shown` says what the page shows for
it. Only `page` imports Gradio, an optional package, when the server starts. What runs in the browser is in `static`.
"""

from keras_coda.explorer.server import explore as explore
