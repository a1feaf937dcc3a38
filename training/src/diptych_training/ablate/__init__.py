"""One recipe with one thing changed at a time, and what each change does; trains nothing itself."""
