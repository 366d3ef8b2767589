"""Results that more than one call may have: kept for a while (caching), or of one run for all who wait (collapsing).

``plans`` says which calls those are, ``keys`` which are the same, ``runs`` is what the decision path uses. All of it
comes after the decision: who may not make a call gets no other call's result.
"""
