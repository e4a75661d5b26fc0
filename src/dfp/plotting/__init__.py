"""Parts of figures, from tidy tables only: nothing in this package imports torch.

``style`` holds the colours and names, ``marks``, ``over`` and ``traces`` the pictures' parts. What serves one
experiment lies in that experiment's folder.
"""
