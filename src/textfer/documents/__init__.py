"""Files that people have, as texts that know their pages and lines; passages of them; and an index to find them by."""
