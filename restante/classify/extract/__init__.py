"""Reading attachments: text out of documents and archives, in processes that may die.

``pool`` and ``wire`` run in the service and trust nothing that they are told; the rest runs in an extractor process
(``worker``), confined (``confine``), which holds no key, no network, no file and no other message's content.
"""
