"""Tests of the `dev` command."""
