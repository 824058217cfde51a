"""Move a project of the template's first edition to a new one of this edition.

`python -m tools.first_edition OLD [NEW]` changes nothing in OLD. What its user did is what differs
from the first edition's own files, which the template's history still has.
"""
