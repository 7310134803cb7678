"""Programs that make or measure things; none of them ships in the package."""
