"""`python -m keras_coda`: the command line."""

import sys

from keras_coda_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
