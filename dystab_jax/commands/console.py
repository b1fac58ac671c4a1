"""The command ``dystab``, which an installed package brings: as ``python run.py``."""

from dystab_jax.runtime.huge_pages import restart_with_huge_pages


def run() -> None:
    """Starts with huge pages, before the imports that take seconds."""
    restart_with_huge_pages()
    from dystab_jax.commands import main

    main.run()
