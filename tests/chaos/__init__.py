"""Chaos on real servers: faults hit workers, operators and servers, and every occurrence is accounted for."""
