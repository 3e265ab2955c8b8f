"""The core: everything that the verticals share. It imports no vertical."""
