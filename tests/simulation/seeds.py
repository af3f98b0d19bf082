"""Seeds that have failed once, because of a fault in core or in the simulation. As the meaning of a seed changes with
the generator of plans, each fault of core has a test of its own as well."""

FAILED_ONCE = (
    *(9, 14, 3376, 4866, 5709, 6906, 7586, 9315, 9785, 12735, 12853, 14921, 15643, 16135),
    *(19351, 19714, 22251, 48736),
)
