"""The command line of Pyncette.

It is no part of the package ``pyncette``, whose import takes longer than ``pyncette --help`` may take.
"""
