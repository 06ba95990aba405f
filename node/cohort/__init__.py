"""Cohort room: results and outcomes of many patients → tables, tests, ROC and agreement, as in the study.

Pure: values in, values out. It needs the extra ``research`` (statsmodels, scikit-learn), which nothing else of the node
loads; :mod:`node.research` reads the files and writes the report.
"""
