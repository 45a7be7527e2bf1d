"""Classes of verbs by the complements they take."""

from __future__ import annotations

from tree import word_set

# Verbs whose wh-complement is an indirect question; after others "what" heads a free relative.
INTERROGATIVE = word_set(
    "ask wonder know tell explain decide remember understand see say show discover find guess "
    "learn discuss describe determine forget care notice reveal believe surprise sure"
)
# Verbs with direct speech or thought: the clause before them is no run-on.
SPEECH = word_set(
    "say tell ask reply answer whisper call cry shout mutter order think suppose believe guess "
    "know hope fear figure report announce add admit write note explain imagine"
)
# Verbs whose object is the subject of the infinitive; after others it is a purpose clause.
OBJECT_CONTROL = word_set(
    "ask tell want expect allow force help order teach invite encourage persuade remind urge "
    "advise warn enable require cause get need like love prefer permit train beg let make have "
    "see hear watch lead drive convince instruct press command trust consider find know"
)
# Other verbs with an infinitive have a purpose clause: "I am writing to complain".
CATENATIVE = OBJECT_CONTROL | word_set(
    "try begin start seem appear hate hope refuse decide agree forget remember learn manage fail "
    "plan continue tend use go cease happen offer wish threaten choose mean regret intend attempt "
    "prove afford dare be deserve claim pretend struggle demand swear vow long prepare turn come "
    "say suppose work believe think report rumor schedule set design oblige bind proceed hesitate "
    "bother care grow move promise"
)
# Verbs of telling keep their person as an indirect object even without a direct object.
TELLING = word_set("tell ask show teach promise assure remind inform warn advise")
