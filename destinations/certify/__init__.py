"""Does a partner speak the protocol? Requests are sent, replies are judged, and what was made is taken away.

    talk      sends one request raw, and keeps what came back
    checks    what is asked of every partner; of_lists and of_properties, what each kind must do
    run       does the checks in order, and tidies up
    report    what was found, for people and for programs

See docs/certification.md for the list of checks.
"""
