"""`--target mcu[:BOARD]`: whether a .tflite file fits a microcontroller under TensorFlow Lite Micro, before there is a board.

boards.py     named boards, with the source of each figure
operators.py  what TensorFlow Lite Micro has kernels for
arena.py      the memory of a run: estimated from lifetimes, or measured by the tflite-micro package
allocate.py   the process in which tflite-micro opens the file
flash.py      the model and an estimate of the code
fit.py        the verdict
ethos.py      the NPUs, by Arm's vela
target.py     the target itself
"""
