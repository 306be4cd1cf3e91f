"""Keys, matching and answers of C-FIND, C-GET and C-MOVE (PS3.4 C)."""
