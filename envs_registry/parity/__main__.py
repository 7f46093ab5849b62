"""`python -m envs_registry.parity DIR`; see `report`."""

import sys

from envs_registry.parity.report import main

sys.exit(main(sys.argv[1:]))
