"""The report site: static pages of records and of the runs at hand, for a browser without a server.

What a page holds is made by pure functions of records and scores (:mod:`.boards`, :mod:`.curves`,
:mod:`.parts`, :mod:`.run_page`, :mod:`.gallery`); :mod:`.site` puts it into ``templates`` and
writes the folder.
"""
