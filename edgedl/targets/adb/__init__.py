"""`--target adb:SERIAL`: an Android device, by the benchmark program of the engine itself; no Python is there.

device.py      the adb command, and what it says in one sentence
tools.py       the two programs: how they are called, and what they are recognised by
transcript.py  from what they print to figures and operators
target.py      the set-up and the target
"""
