"""Small language models of equal parameters: `bmojo` beside what it is to be compared with."""
