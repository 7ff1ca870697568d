#!/bin/busybox sh
# The first process of the guest. /order sets BUDGET (bytes, of the worker's control group), MODULES (of the kernel, in their
# order) and WORKER (environment and command). What it says, console.py reads.
b=/bin/busybox
group=/sys/fs/cgroup/worker
channel=/dev/vport0p1

$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mount -t tmpfs tmp /tmp
$b mount -t cgroup2 cgroup /sys/fs/cgroup
. /order
for module in $MODULES; do $b insmod "/modules/$module.ko"; done
tries=0
until [ -c $channel ] || [ $tries = 100 ]; do $b usleep 10000; tries=$((tries + 1)); done
[ -c $channel ] || $b poweroff -f

echo +memory > /sys/fs/cgroup/cgroup.subtree_control
$b mkdir $group
echo "$BUDGET" > $group/memory.max
echo "edgedl: started"
# Standard input and output of the worker are QEMU's.
( echo 0 > $group/cgroup.procs && exec $b env -i $WORKER 0<> $channel 1>&0 )
code=$?
echo
echo "edgedl: ended $code $($b sed -n 's/^oom_kill //p' $group/memory.events)"
$b poweroff -f
