"""`--target qemu-aarch64-system[:CORE][,memory=64MB]`: a whole emulated ARM64 machine with a Linux of its own.

The sysroot, its engines and the cores are those of qemu-aarch64 (edgedl/targets/qemu).

boot.py      the kernel, its modules and busybox, downloaded and unpacked; setup.py: tried, and in their place by one rename
device.py    what may be asked for behind the colon
archive.py   the cpio format of the initramfs
image.py     what the initramfs holds
init.sh      the first process of the guest; console.py reads what it says
command.py   QEMU's command line; owned.py: the process that ends QEMU when edgedl is gone
target.py    the place and the target
"""
