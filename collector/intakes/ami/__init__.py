"""Intake of Asterisk's manager interface (AMI)."""
