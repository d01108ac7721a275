"""`python -m keras_coda`: the command line.

It imports the package first, so even `--help` takes seconds; `keras-coda --help` does not.
"""

import sys

from keras_coda_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
