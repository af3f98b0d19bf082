"""Seeds that have failed once, because of a fault in core or in the simulation. What a seed means changes with the
plans: what they found in core is tested besides where it belongs."""

FAILED_ONCE = (
    *(9, 14, 3376, 4866, 5709, 6906, 7586, 9315, 9785, 12735, 12853, 14921, 15643, 16135),
    *(19351, 19714, 22251),
)
