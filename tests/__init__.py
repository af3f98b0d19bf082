"""Tests across the packages; those of one package are beside it."""
