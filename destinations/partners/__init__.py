"""Partners as folders: `<slug>/partner.json` says what one is, as fields of a destination: data, no code.

    partner.json     label, hint, page, fields, needs, secrets, fake (see `docs/partners.md`)
    requests/*.http  what is sent for each operation, to the byte
    README.md        for people: how to get the key, what the ids are, what is not possible

An operator's own folders lie in PARTNERS_DIR, and win over one of the same slug here.
"""
