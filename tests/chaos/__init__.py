"""Chaos on real servers: workers, operators and servers are hurt, and every occurrence is accounted for."""
