"""`--target qemu-aarch64[:CORE]`: the real ARM64 builds of the engines under QEMU, on a machine of another kind.

downloads.py  Debian's packages and the wheels, into a folder of their own
sysroot.py    the set-up: where it is, whether it is whole and of this edgedl; made anew where it is not
build.py      how its parts are made; parts.py: what from, as digests that it keeps
guests.py     the systems, each with what its set-up is made of; cores.py: the processors that may be asked for, and what they lack
count.c       the TCG plugin that counts instructions; counts.py reads what it writes
target.py     the target itself
"""
