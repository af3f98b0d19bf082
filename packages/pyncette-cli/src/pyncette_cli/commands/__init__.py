"""The commands, a module for each group of them. Each is imported when it is called."""
