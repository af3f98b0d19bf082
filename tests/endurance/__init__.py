"""Endurance: the resource use of workers and stores stays constant over hours."""
