"""The labelled lines that the shipped scorer was trained on, made anew from packages: what each text is was decided by where it stands."""
