"""The boundary loss at home in other frameworks; each module needs its own framework and no other."""
