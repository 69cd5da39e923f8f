"""The daily rollup: computes exact, k-anonymous daily series from raw reports."""
