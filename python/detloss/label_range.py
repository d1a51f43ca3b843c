"""Which numbers labels may hold."""

#: Largest magnitude of coordinates and offsets, and of what weights a term: objectness, class scores, flags. Beyond it
#: nothing is one of them; products of a few labels below it stay finite.
LARGEST_LABEL = 1e6
