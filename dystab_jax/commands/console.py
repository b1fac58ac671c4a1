"""The command that an installed package brings, as ``python run.py`` of a checkout.

dystab predict --input=dog.mp4 --output=masks
dystab train --config=configs/demo.py --workdir=runs/demo
dystab eval --workdir=runs/demo
"""

import sys

from dystab_jax.runtime.huge_pages import restart_with_huge_pages


def run() -> None:
    """Does what the command line says."""
    restart_with_huge_pages()  # before the imports that take seconds
    from absl import flags

    from dystab_jax.commands import main

    # What --help shows: absl takes both from the script that has been started.
    sys.modules["__main__"].__doc__ = __doc__
    for flag in flags.FLAGS.get_key_flags_for_module(main.__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    main.run()
