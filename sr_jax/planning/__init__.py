"""Will a run compile and fit on devices that nobody has at hand, and how fast can it be at best?"""
