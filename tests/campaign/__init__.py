"""The campaign: the real server ends under load at seeded random points, and nothing is lost, doubled or made up.

`run.py` is one run, top to bottom. Load (`load.py`) notes what each client saw (`evidence.py`); the server ends as the
seed says (`plan.py`, `ends.py`) while another takes over; workers write down what reached them; a survey (`survey.py`,
`disk.py`) collects what is there now; pure rules (`rules.py` and those it names) compare them all. None of it calls the
code under test.
"""
