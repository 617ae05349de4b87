"""One rule round a call a file; only stack.py knows them all."""
