"""What type checkers say to users: of the calls that they write, and of the code in the documentation."""
