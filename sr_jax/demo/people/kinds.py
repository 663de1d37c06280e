"""What kinds of clips can be asked for; a command's help needs no more than this."""

SPLITS = ("train", "test")
"""Nobody of one of them is in the other."""
FRAMINGS = {"full body": (1.86, 1.70), "knees up": (1.32, 1.70), "waist up": (0.98, 1.70), "hips up": (1.00, 1.68)}
"""By name: visible height, and height of the picture's upper edge over the floor, metres, for a usual person."""
