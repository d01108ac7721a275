"""The deployment folder: what a model server needs beside an exported network, and the checks of it."""
