"""The explorer: predictions, exact maps and what-ifs in a browser. It needs ``keras-coda[explore]``, when it starts.

``pictures`` reads images and draws maps, ``networks`` computes with them; neither knows Gradio. ``examples`` are images
to begin with, ``views`` and ``widgets`` what a page is made of, ``app`` is the page and ``launch`` the server.
"""
