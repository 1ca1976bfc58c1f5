"""What a trajectory store holds, and what happens to a shard that is damaged."""

from pathlib import Path

import torch

import koopstep as ks

teacher = ks.mixture_teacher(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), spread=0.2)
ks.collect(teacher, "store", count=3_000, steps=18, keep="all", seed=7, hold_out=300, unit_size=1_000)

# --- reading --------------------------------------------------------------------------------------------------
store = ks.Store.open("store")
print(store)
manifest = store.manifest
print(f"made by {manifest.teacher.name} with {manifest.teacher.num_function_evaluations} evaluations a path")
print("sigma at the kept states:", " ".join(f"{level:.3g}" for level in manifest.levels))

batch = store.batch(store.held_out_rows()[:4])
print("states", tuple(batch.states.shape), "progress from", float(batch.progress[0]), "to", float(batch.progress[-1]))
print(f"{len(store.training_rows())} rows for training, {len(store.held_out_rows())} held out")

# --- noise is a function of (seed, row), and the path of the noise --------------------------------------------------
again = teacher.path(batch.noise, steps=manifest.steps)
print(f"the teacher walks the same path again: {(again - batch.states).abs().max():.1e} apart")

# --- one flipped bit ----------------------------------------------------------------------------------------------
shard = Path("store/shards/00001.safetensors")
content = bytearray(shard.read_bytes())
content[-1] ^= 1
shard.write_bytes(content)
for unit in store.verify():
    print(f"unit {unit.unit}, rows {unit.start} to {unit.stop - 1}: {unit.reason}")
mended = ks.repair(store, teacher)  # said on standard error
print(f"damaged now: {len(mended.verify())}; the same data as before: {mended.root == store.root}")
