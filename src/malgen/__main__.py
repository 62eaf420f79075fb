"""``python -m malgen`` is the command ``malgen``."""

import sys

from malgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
