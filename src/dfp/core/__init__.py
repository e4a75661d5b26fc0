"""Floor 0: what everything else stands on.

Shape legend, used in every docstring: ``S`` posterior samples, ``B`` trials or windows, ``T`` time bins,
``N`` cells, ``L`` memory in bins, ``R`` basis functions, ``H`` hidden features. Tensors are ``(S, B, T, N)``,
``(B, T, N)``, ``(T, N)`` or ``(N,)``: time before cells, hidden features last.
"""
