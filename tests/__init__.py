"""Tests across the packages; those of one package are in its own folder."""
