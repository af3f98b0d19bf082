"""Seeds that have failed once, because of a fault in core. What a seed means changes with the plans: what they found is
tested besides where it belongs."""

FAILED_ONCE = (9, 14, 3376, 4866)
