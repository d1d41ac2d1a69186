"""`make docs`: writes the examples of the API document from what the product really answers."""
