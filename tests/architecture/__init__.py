"""Tests of the sources themselves: layers, sizes, words and packages."""
