"""Frozen networks that look at images: LPIPS, Inception, a CIFAR-10 classifier. Their weights are the user's files."""
