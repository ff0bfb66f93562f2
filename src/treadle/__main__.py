"""`python -m treadle`: the command `treadle`, where it is not on PATH."""

from __future__ import annotations

import sys

from treadle.cli import main

sys.exit(main())
