"""Tests of the contract suite: does it notice faults of a store, and mistakes in its own subclasses?"""
