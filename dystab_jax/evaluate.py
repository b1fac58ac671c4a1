"""``python -m dystab_jax.evaluate``: scores mask files of any method (`commands.score_masks`)."""

import sys

from dystab_jax.commands.score_masks import main

if __name__ == "__main__":
    sys.exit(main())
