"""`--target ssh://user@host[:port]`: a board over the system's own OpenSSH client.

address.py   the text of a target, and the command line of ssh
board.py     what runs on the board before there is anything of edgedl there; sent as text
client.py    one conversation with it
failures.py  what ssh and the board said, in one sentence
files.py     what is brought to the board: the model's files and the runner
target.py    the place, the set-up and the target
"""
