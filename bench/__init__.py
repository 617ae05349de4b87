"""Programs that measure side by side in one run and print ratios; each is run as `python -m bench.NAME`."""
