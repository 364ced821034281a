"""What every store must do, whatever database it uses.

A store's tests derive from `StoreSuite` and give it a fixture `store`: open, and empty.
"""

from tests.server.store.rules.accounts import AccountRules
from tests.server.store.rules.answers import AnswerRules
from tests.server.store.rules.catalog import CatalogRules
from tests.server.store.rules.changes import ChangeRules


class StoreSuite(AccountRules, CatalogRules, AnswerRules, ChangeRules):
    """The rules together."""
