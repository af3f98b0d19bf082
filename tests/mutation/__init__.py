"""Mutation testing of core's pure modules by mutmut: `python -m tests.mutation lease`."""
