"""Translates other formats, so far FHIR, to events of this vertical."""
