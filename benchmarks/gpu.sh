#!/usr/bin/env bash
# The first hour on a GPU: seven pieces, each of at most eight minutes and by itself, from a bare checkout.
#
#   python benchmarks/gpu_data.py CORPUS TEXT vocab.txt runs/gpu-data --wheels 3.12    # before, with network
#   benchmarks/gpu.sh                          # all pieces: probe demo label finetune students memory real
#   benchmarks/gpu.sh probe label              # some of them
#   benchmarks/gpu.sh --device cpu             # a rehearsal: everything smaller, in one thread
#
# Each writes gpu-PIECE.json and a table of gpu.md into --out (runs/gpu). A piece that fails writes its error, and the
# next one goes on. `real` is stopped when its time is over; call it again until it brings scores. Its run is in --work
# (runs/gpu-work); keep that folder between the calls.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3} device=cuda data=$root/runs/gpu-data out=$root/runs/gpu work=$root/runs/gpu-work pieces=()
while (($#)); do
  case $1 in
    --device) device=$2; shift ;;
    --data) data=$2; shift ;;
    --out) out=$2; shift ;;
    --work) work=$2; shift ;;
    -*) echo "$1: no such option; see the head of $0" >&2; exit 2 ;;
    *) pieces+=("$1") ;;
  esac
  shift
done
((${#pieces[@]})) || pieces=(probe demo label finetune students memory real)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
[[ $device == cuda ]] || export CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if ! "$python" -c 'import datasets, pydantic, ruamel.yaml, xxhash, zstandard' 2>/dev/null; then
  echo "installs $data/wheels into $work/site" >&2
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$work/site" \
    "$data"/wheels/*.whl || exit 1
  export PYTHONPATH=$work/site:$PYTHONPATH
fi
status=0
for piece in "${pieces[@]}"; do
  timeout --kill-after=20 460 "$python" -m benchmarks.gpu "$piece" \
    --device "$device" --data "$data" --out "$out" --work "$work" --seconds 440 || status=1
done
exit $status
