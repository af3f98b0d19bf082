"""The only exception whose message is meant for the user."""


class Problem(Exception):
    """Something that the user can fix; the message says what and how. It is printed without a traceback."""
