"""A plan of an evaluation to start from."""

#: A plan to start from: that of the study, with what else there is as comments.
EXAMPLE = """\
# The plan of an evaluation: bmd-node evaluate RESULTS --outcomes OUTCOMES.csv --plan THIS.toml --out REPORT
# Column names are those of the tables. A name that both tables have is written results.NAME or outcomes.NAME.
title = "Screw loosening after semi-rigid instrumentation"

[results]                        # studies.csv of bmd-node process or export
key = "accession_number"         # joins results and outcomes
value = "bmd_mg_cm3"
# several = "first"              # a key with several studies: "exclude" (default), "first" or "last" by study_date

[outcomes]                       # your table: one row per patient
key = "accession_number"
column = "loosening"
cases = ["yes"]
controls = ["no"]                # any other entry excludes the patient

[[exclusions]]                   # one of keep, drop, below, above, missing; any number of rules
reason = "scanner without a validated equation"
column = "scanner_model"
keep = ["Brilliance 64"]

[[exclusions]]
reason = "followed up for less than 12 months"
column = "follow_up_months"
below = 12

[matching]                       # leave it out for an unmatched analysis
exact = ["outcomes.sex", "construct"]
within = { age = 5 }
controls_per_case = 1
seed = 1

[tables]
numbers = ["age", "bmi", "follow_up_months"]
counts = ["outcomes.sex", "construct"]
value_by = ["outcomes.sex"]

[roc]
low_is_case = true
thresholds = [80.0, 81.8]
resamples = 2000
seed = 1

[model]                          # logistic regression
covariates = ["age", "outcomes.sex", "bmi"]
per = 10                         # odds ratio for 10 mg/cm3

# [[methods]]                    # the node against another column
# name = "QCT"
# column = "qct_mg_cm3"
# variance_ratio = 1.0

# [repeats]                      # precision from repeat scans in the results
# subject = "patient_id"
# same = ["scanner_model", "kvp", "kernel", "contrast_phase"]
# max_days = 30
"""
