"""Trains, evaluates or predicts. See README; ``python run.py --help`` lists the flags.

python run.py --config=configs/demo.py --workdir=runs/demo
python run.py --config=configs/demo.py --workdir=runs/demo --mode=eval
python run.py --workdir=runs/demo --mode=predict --input=VIDEO --output=DIR
"""

from dystab_jax.runtime.huge_pages import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()  # before the imports that take seconds

from absl import flags

from dystab_jax.commands import main

flags.adopt_module_key_flags(main)

if __name__ == "__main__":
    main.run()
