"""The distributions as users get them: built, listed, installed into clean environments."""
