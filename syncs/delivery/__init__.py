"""How runs reach a partner: see docs/delivery.md, which maps these files."""
