"""A module of pyncette 1.1.0, which version 2 does not have."""

raise ImportError("pyncette.pyncette is gone since version 2: write from pyncette import Pyncette, PyncetteContext.")
