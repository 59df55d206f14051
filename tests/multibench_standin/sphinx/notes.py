"""In a bare folder: an installed package of that name comes first."""
