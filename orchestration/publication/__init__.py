"""Publication: readers see what passed, all of it at once, or what they saw before."""
