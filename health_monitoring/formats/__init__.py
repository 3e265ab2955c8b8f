"""FHIR observations as events of ours."""
