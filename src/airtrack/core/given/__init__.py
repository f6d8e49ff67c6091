"""What a learner may be given. Oracles charge the meter themselves; nothing here holds a task's truth."""

from airtrack.core.given.blocks import Blocks as Blocks
from airtrack.core.given.choices import Choices as Choices
from airtrack.core.given.corpus import IGNORE as IGNORE
from airtrack.core.given.corpus import Batch as Batch
from airtrack.core.given.corpus import Corpus as Corpus
from airtrack.core.given.corpus import treated as treated
from airtrack.core.given.entries import Entries as Entries
from airtrack.core.given.env import Env as Env
from airtrack.core.given.finite_sum import FiniteSum as FiniteSum
from airtrack.core.given.hinges import Hinges as Hinges
from airtrack.core.given.kernel import Kernel as Kernel
from airtrack.core.given.matrix import Matrix as Matrix
from airtrack.core.given.oracle import Bools as Bools
from airtrack.core.given.oracle import Floats as Floats
from airtrack.core.given.oracle import Ints as Ints
from airtrack.core.given.oracle import Oracle as Oracle
from airtrack.core.given.pieces import Pieces as Pieces
from airtrack.core.given.regression import Regression as Regression
from airtrack.core.given.rounds import Rounds as Rounds
from airtrack.core.given.stream import Stream as Stream
from airtrack.core.given.views import Views as Views
