"""What every store must do, whatever database it uses.

A store's tests derive from `StoreSuite` and give it a fixture `store`: open, and empty.
"""

from tests.server.store.rules_accounts import AccountRules
from tests.server.store.rules_answers import AnswerRules
from tests.server.store.rules_catalog import CatalogRules
from tests.server.store.rules_changes import ChangeRules


class StoreSuite(AccountRules, CatalogRules, AnswerRules, ChangeRules):
    """The rules together."""
