"""The crash campaign: the real server dies under load at seeded random points, and nothing acknowledged is lost.

`run.py` is one run, top to bottom. Load (`load.py`) notes what each client saw acknowledged (`evidence.py`); the server
is ended as the seed says (`plan.py`) and started again; a survey (`survey.py`, `disk.py`) collects what is there now;
pure rules (`rules.py`) compare the two. None of it calls the code under test.
"""
