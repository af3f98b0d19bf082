"""Endurance: what workers and stores use stays the same while they work on and on."""
