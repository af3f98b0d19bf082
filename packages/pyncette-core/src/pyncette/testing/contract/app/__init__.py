"""How a whole app behaves on a repository, in virtual time."""
