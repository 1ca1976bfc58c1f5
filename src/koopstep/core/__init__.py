"""The ground every package stands on: errors, atomic files, tensors on disk, noise, configs, records."""
