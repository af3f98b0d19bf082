"""``python -m pyncette_cli`` is the same as ``pyncette``."""

from .main import main

main()
