"""Prediction x truth -> rows: measures of cases, lesions at every threshold, folders."""
