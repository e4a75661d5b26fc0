"""What the source documents claim, judged by code from the tidy tables.

``base`` holds the rules of judgement, one file an experiment holds its claims, ``registry`` lists them all.
No torch here.
"""
