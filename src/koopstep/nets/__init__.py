"""Networks: functions of (x, noise label, class labels); they know nothing of teachers or operators."""
