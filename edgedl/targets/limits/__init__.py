"""`--target local:cpus=1,quota=25%,memory=64MB`: a device class on this machine.

device_class.py  what may be asked for
cgroup.py        where control groups can be made, and what they are told
confined.py      the process between edgedl and the worker: it puts the worker in its place, and tells why it died
target.py        the place and the target
"""
