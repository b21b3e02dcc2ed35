#!/bin/sh
# Publishes the GPU suite as a folder that needs nothing but a Linux machine with an NVIDIA card, and packs it:
#   perf/gpu.sh              → artifacts/bellman-gpu/  and  artifacts/bellman-gpu.tar.xz
# On the other machine: tar xf bellman-gpu.tar.xz && bellman-gpu/Bellman.Gpu.Perf; it rewrites bellman-gpu/kernels.lock and
# bellman-gpu/probes.lock, which belong into perf/ of the repository.
set -e
cd "$(dirname "$0")/.."
rm -rf artifacts/bellman-gpu
dotnet publish perf/Gpu -c Release -r linux-x64 --self-contained -o artifacts/bellman-gpu -v q --nologo
cp perf/*.lock artifacts/bellman-gpu/
tar -C artifacts -cJf artifacts/bellman-gpu.tar.xz bellman-gpu
ls -lh artifacts/bellman-gpu.tar.xz
