"""The explorer: predictions, exact maps and what-if questions in a browser. It needs ``keras-coda[explore]``.

Here belongs what the page computes, shows and serves. Only `page` and `handlers` import Gradio, an optional package;
they are imported when the server starts. What runs in the browser is in the folder `static`.
"""

from keras_coda.explorer.server import explore as explore
