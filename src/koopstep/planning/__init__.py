"""What distilling will take: lengths that fit a budget, and times measured on this machine."""
