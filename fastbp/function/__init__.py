"""Any function: its argument, its evaluation, its derivatives, its checks."""
