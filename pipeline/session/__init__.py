"""What the parts of one command share: its folder and the lock over it, its memory, its tools, its beginning and end.

The plan, the report, the stages and the commands import this. It imports everything below it: `training`, `graph`,
`tracking`, `cluster`, `terminal`. `folder` and `lock` import no framework, for the doctor.
"""
