"""What a process that opens files from strangers may still do: rights that it gives up before it opens one, and cannot take back.

landlock.py   files: read the model and the interpreter, write a temporary folder; no TCP
seccomp.py    system calls: no sockets but local ones, no new processes, no debugging of others
confine.py    both, and limits of memory and file size; tells which of them hold

This package imports only `edgedl.errors` and the standard library. It needs no root, and Linux; elsewhere each layer says that it is off.
"""
