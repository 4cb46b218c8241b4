"""`python -m holdfast` is `holdfast`."""

import sys

from .cli.main import main

sys.exit(main())
