"""The one exception whose text is for the person at the terminal."""


class Problem(Exception):
    """Something that the caller can fix; its text says what and how. Printed without a traceback."""
