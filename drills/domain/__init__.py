"""A live drill without any framework: what can happen, what follows from it, who may see it, what it is worth."""
