"""The contract suite under test: does it notice what is wrong with a store, and with its own subclasses?"""
