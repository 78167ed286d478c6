"""What the tree of blocks shares with its compiled loops."""

# Points of a block: many enough for the inner loops to pay, few enough to be near each other.
BLOCK = 128
