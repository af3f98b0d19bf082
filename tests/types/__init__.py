"""What type checkers report for users' calls, and for the code in the documentation."""
