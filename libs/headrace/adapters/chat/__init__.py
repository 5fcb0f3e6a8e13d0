"""Generating models behind OpenAI-compatible endpoints, by role, with replies that are never paid twice.

`opening` puts a service's models together. From there a call goes through `kept` (is its reply there already?), `endpoint`
(limits, deadlines, tries) and `completion` (what is the answer worth?), and its outcome into `replies`, a changelog in Kafka
beside the partition of the work it was made for. What is never repeated is a call whose reply Kafka has; one that was on its
way when a process died may be paid again, since nobody knows whether it was answered. Endpoints and their
limits are settings (`settings`): HEADRACE_CHAT_* for every role, HEADRACE_CHAT_<ROLE>_* for one.
"""
