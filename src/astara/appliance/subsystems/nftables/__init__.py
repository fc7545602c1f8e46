"""Table inet astara: a constant structure whose sets and maps change element by element."""
