"""Images: from names and paths to arrays with a validation split, a digest and a normalisation. Imports no model."""
